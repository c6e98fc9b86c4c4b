"""Models of other families than ours: any image-text-to-text model that transformers itself has, for comparison.

They are evaluated and asked, never trained. `load` reads them through here; all that is special to one of them stands
in `quirks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from transformers import AutoProcessor, ProcessorMixin
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils import is_torchvision_available

from cli_ray.data.chat_template import Chat
from cli_ray.data.sample import IMAGE_MARK, BadDataError, Message
from cli_ray.errors import UserError
from cli_ray.inference.quirks import TEMPLATES
from cli_ray.model.families import name_of
from cli_ray.registry import ADAPTERS, FAMILIES

_VIDEO = "video_processor"
_THINKING = "enable_thinking"
_PROBE = Message("user", f"{IMAGE_MARK}probe")


def is_foreign(model_type: object) -> bool:
    """Whether a `model_type` is of none of our families."""
    return name_of(model_type) not in FAMILIES


def check_kind(model: str, values: Mapping[str, Any]) -> None:
    """Refuses what can be told from config.json alone to be no model that is evaluated.

    Args:
        model: folder or hub id, for messages.
        values: the content of its config.json.

    Raises:
        UserError: it needs code that came with it, sees no images, or is in LLaVA's original format.
    """
    if "mm_vision_tower" in values:
        raise UserError(
            f"{model} is in LLaVA's original format, which `cli-ray train` reads and evaluation does not: evaluate the "
            "export of a run on it (cli-ray export), or its twin in Hugging Face's format, such as "
            "llava-hf/llava-1.5-7b-hf"
        )
    kind = values.get("model_type")
    if str(kind).startswith("cli_") and name_of(kind) in ADAPTERS:
        raise UserError(
            f"{model} is a {kind}: injection into a {name_of(kind)} is built, saved and loaded, but what reads its "
            "images for evaluation is not there yet; evaluate the plain model"
        )
    if not kind:
        raise UserError(f"{model} holds no model: its config.json names no model_type")
    if not is_foreign(kind) or (kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not _reads_apart(values)):
        return
    if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UserError(f"{model} is a {kind} with an encoder for its prompts; only decoders alone are evaluated")
    if "auto_map" in values:
        raise UserError(
            f"{model} is a {kind}, which runs code that comes with its weights, and such code is never run: take its "
            "twin in transformers' own format, whose name often ends in -hf"
        )
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(f"{model} is a {kind}, a language model that sees no images: name an image-text-to-text model")
    raise UserError(f"{model} is a {kind}, which transformers does not load as an image-text-to-text model")


def foreign_processor(model: str, config: Any, revision: str | None) -> ProcessorMixin:
    """The processor of a model of another family.

    Args:
        model: folder or hub id.
        config: of the model.
        revision: of the hub.

    Raises:
        UserError: it cannot be read, or has no chat template by which images are shown.
    """
    try:
        kind = PROCESSOR_MAPPING.get(type(config), AutoProcessor)
        kind = kind if is_torchvision_available() else without_video(kind)
        processor: ProcessorMixin = kind.from_pretrained(model, revision=revision, trust_remote_code=False)
    except Exception as error:  # of any kind, for each family reads its files in code of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the processor of {model} cannot be read: {reason}") from error
    if not isinstance(processor, ProcessorMixin):
        raise UserError(f"{model} is a {config.model_type}, for which transformers has no processor")
    processor.chat_template = processor.chat_template or TEMPLATES.get(config.model_type)
    if not processor.chat_template:
        raise UserError(f"the model {model} has no chat template; put a chat_template.jinja into its folder")
    token = getattr(processor, "image_token", None)
    if not token or not ForeignChat(processor).shows_images():
        raise UserError(f"the chat template of {model} does not show an image as one image token ({token})")
    return processor


def without_video(kind: Any) -> Any:
    """A class of processors without its video processor, which needs torchvision even where no video is read.

    Where that is not the last part, the class as it is, whose error then names torchvision.
    """
    parts = [] if kind is AutoProcessor else kind.get_attributes()
    if parts[-1:] != [_VIDEO]:
        return kind

    class Processor(kind):
        # SmolVLM's chat reads these without a video too.
        video_processor = SimpleNamespace(num_frames=None, fps=None)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [part for part in parts if part != _VIDEO]

        @classmethod
        def from_args_and_dict(cls, args: Any, processor_dict: Any, **kwargs: Any) -> Any:
            return super().from_args_and_dict(args, processor_dict | {_VIDEO: None}, **kwargs)

    return Processor


class ForeignChat(Chat):
    """Renders messages as typed parts in the order in which they were written, as the model's own users do.

    A template that can open with a thought of the model is asked for none: replies are as long as a benchmark lets them
    be.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        thinks = _THINKING in str(processor.chat_template)
        super().__init__(processor, **({_THINKING: False} if thinks else {}))

    def __call__(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """See `Chat`."""
        return super().__call__([_in_order(message) for message in messages], add_generation_prompt)

    def shows_images(self) -> bool:
        """Whether an image becomes one image token, and the text beside it is there."""
        try:
            shown = self([_PROBE], True)
        except BadDataError:
            return False
        return "probe" in shown and shown.count(self._processor.image_token) == 1


def _in_order(message: Message) -> Message:
    """The message in typed parts, where marks stand within its text."""
    text, *rest = message.content.split(IMAGE_MARK)
    if message.parts or not rest or not text.strip():
        return message
    parts = [text]
    for piece in rest:
        parts += [IMAGE_MARK, piece]
    return replace(message, parts=tuple(part for part in parts if part))


def _reads_apart(values: Mapping[str, Any]) -> bool:
    return bool(values.get("is_encoder_decoder"))
