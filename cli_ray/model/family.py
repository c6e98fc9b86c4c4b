"""What a family of models is: all that the rest of the package asks about one.

Each family is one file with a subclass of `Family` and one line in `cli_ray/registry.py`; `families` finds it.

A *plain* model is the stock one of transformers; the family adds its CLI model, which has injection.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from transformers import ProcessorMixin

from cli_ray.config import ModelConfig
from cli_ray.tiles import Budget


@dataclass(frozen=True)
class OriginalFormat:
    """How the code of LLaVA and LLaVA-NeXT stores models of a family, see `original_llava`."""

    architecture: str
    """The class that a checkpoint was saved from."""
    model_types: tuple[str, ...]
    """That stand for it in a config without `architectures`."""
    settings: Mapping[str, str]
    """Patterns of the settings in config.json that are read; others make another model."""


class Family(ABC):
    """A vision tower, a projector and a language model that were made for each other."""

    title: ClassVar[str]
    """What people call it."""
    plain_class: ClassVar[Any]
    """The stock model. The `model_type` of its config is the name of the family."""
    model_class: ClassVar[Any]
    """The CLI model."""
    processor_class: ClassVar[Any]
    """The processor of both."""
    text_config_class: ClassVar[Any]
    """Config of the language model in the tiny model and in the original format."""
    tower: ClassVar[str]
    """The `model_type` of its vision tower."""
    published_size: ClassVar[tuple[int, int]]
    """Sides of the square image or tile of its published models, and of a patch, pixels."""
    image_tokens: ClassVar[tuple[str, ...]] = ("<image>",)
    """Tokens that a language model's tokenizer gets."""
    chat_template: ClassVar[str]
    """Of models whose tokenizer has none; `</s>` stands for the end token."""
    tiny_tokens: ClassVar[tuple[str, ...]]
    """Special tokens of the tiny tokenizer, in the order of their ids."""
    bos_token: ClassVar[str | None] = None
    """Of the tiny tokenizer, which puts it in front of each text."""
    eos_token: ClassVar[str]
    """Of the tiny tokenizer."""
    original: ClassVar[OriginalFormat | None] = None
    """None where nothing is read in the original format."""

    def adapt_tower(self, vision: Any) -> None:  # noqa: B027  (most families need none)
        """Changes the config of a published vision tower, in place, to what the family keeps of it."""

    @abstractmethod
    def joined_fields(self, token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """Fields of the config of a freshly joined model besides its parts, the image token and the pad token.

        Args:
            token_id: from a token to its id.
            vision: config of the tower.
        """

    @abstractmethod
    def new_processor(self, tokenizer: Any, vision: Any, template: str) -> ProcessorMixin:
        """The processor of a freshly joined model.

        Args:
            tokenizer: of the language model, with the image tokens.
            vision: anything with the `image_size` and `patch_size` of the tower, in pixels.
            template: chat template.
        """

    def set_up_processor(self, processor: ProcessorMixin, model: ModelConfig) -> None:  # noqa: B027  (most families need none)
        """Gives a processor the settings of the config, in place."""

    def complete_processor(self, processor: ProcessorMixin, name: str, revision: str | None) -> None:  # noqa: B027  (most families need none)
        """Gives a processor, in place, the settings that the release which stored it did not know.

        Args:
            processor: as it was loaded.
            name: folder or hub id that it was loaded from.
            revision: of the hub.
        """

    @abstractmethod
    def fit_processor(self, processor: ProcessorMixin, config: Any, where: str) -> None:
        """Gives a processor, in place, the settings by which it counts image tokens.

        Args:
            processor: of the family.
            config: of the model.
            where: folder or hub id, for messages.

        Raises:
            UserError: it cuts images otherwise than the model.
        """

    @abstractmethod
    def typical_image(self, config: Any, budget: Budget) -> tuple[int, int]:
        """What costs are quoted for: squares that go through the tower, and tokens in the text."""

    @abstractmethod
    def image_counter(self, values: Mapping[str, Any], budget: Budget) -> Callable[[Sequence[tuple[int, int]]], int]:
        """From (width, height) in pixels of an item's images to the tokens that they take together.

        Args:
            values: the content of the model's config.json.
            budget: of its processor.
        """

    @abstractmethod
    def tiny_vision(self, width: int, **sizes: Any) -> Any:
        """Config of the tower of the tiny model.

        Args:
            width: of the language model.
            **sizes: fields of the config.
        """

    def tiny_fields(self, token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """As `joined_fields`, of the tiny model."""
        return self.joined_fields(token_id, vision)

    def tiny_processor(self, tokenizer: Any, vision: Any) -> ProcessorMixin:
        """As `new_processor`, of the tiny model."""
        return self.new_processor(tokenizer, vision, self.chat_template)

    def original_fields(self, values: Mapping[str, Any], token_id: Callable[[str], int], vision: Any) -> dict[str, Any]:
        """As `joined_fields`, of a checkpoint in the original format whose config.json has `values`."""
        raise NotImplementedError

    def original_processor(
        self, values: Mapping[str, Any], tokenizer: Any, vision: Any, template: str
    ) -> ProcessorMixin:
        """As `new_processor`, of a checkpoint in the original format whose config.json has `values`."""
        return self.new_processor(tokenizer, vision, template)

    def refusal_of_original(self, values: Mapping[str, Any]) -> str:
        """Why a checkpoint in the original format is none of the family though its architecture is; empty if it is."""
        return ""
