"""The sizes of a model from the content of its config.json: what `costs` reads of a config of transformers, without it.

`known` has those of published models; `source` finds the file of others.
"""

from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cli_ray.costs.sizes import blocks_read
from cli_ray.errors import UserError
from cli_ray.registry import FAMILIES

TOWERS = {
    "clip": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224,
             "patch_size": 32, "hidden_act": "quick_gelu"},
    "siglip": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224,
               "patch_size": 16, "hidden_act": "gelu_pytorch_tanh"},
}  # fmt: skip
TEXTS = {
    "llama": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
              "num_attention_heads": 32, "max_position_embeddings": 2048},
    "qwen2": {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768},
}  # fmt: skip
"""What a config.json leaves out is as in the config classes of transformers 5.23."""


_WIDTH: Any = Field(ge=1, le=10**6)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


_Kind = TypeVar("_Kind", bound=_Part)


class Tower(_Part):
    """`vision_config`."""

    model_type: str
    hidden_size: int = _WIDTH
    intermediate_size: int = _WIDTH
    num_hidden_layers: int = Field(ge=1, le=1000)
    image_size: int = Field(ge=1, le=100_000)
    patch_size: int = Field(ge=1, le=100_000)
    hidden_act: str
    num_channels: int = Field(default=3, ge=1)
    vision_use_head: bool = True


class Text(_Part):
    """`text_config`."""

    model_type: str
    vocab_size: int = Field(ge=1, le=10**9)
    hidden_size: int = _WIDTH
    intermediate_size: int = _WIDTH
    num_hidden_layers: int = Field(ge=2, le=1000)
    num_attention_heads: int = _WIDTH
    num_key_value_heads: int = _WIDTH
    max_position_embeddings: int = Field(ge=1)
    head_dim: int | None = Field(default=None, ge=1, le=10**6)
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False


class Shape(_Part):
    """A LLaVA, plain or with injection."""

    family: str
    vision_config: Tower
    text_config: Text
    vision_feature_layer: int | list[int]
    vision_feature_select_strategy: str
    tie_word_embeddings: bool = False
    multimodal_projector_bias: bool = True
    image_grid_pinpoints: list[tuple[int, int]] | None = Field(default=None, min_length=1, max_length=1000)
    """Canvases of tiles, (height, width) in pixels; None where an image is one square."""
    vision_aspect_ratio: str = Field(default="anyres_max_9", pattern=r"^anyres_max_\d{1,4}$")

    @model_validator(mode="after")
    def _sizes_go_together(self) -> Self:
        try:
            blocks_read(self)
        except (IndexError, ValueError):
            raise ValueError("vision_feature_layer names no layer of the vision tower") from None
        if self.vision_config.patch_size > self.vision_config.image_size:
            raise ValueError("vision_config.patch_size is larger than image_size")
        if any(min(canvas) < self.vision_config.image_size for canvas in self.image_grid_pinpoints or ()):
            raise ValueError("image_grid_pinpoints has canvases smaller than a tile")
        return self


SQUARE = {"vision_feature_layer": -2, "vision_feature_select_strategy": "default"}
TILED = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}
"""Of families that take an image as one square, as LLaVA-1.5, and of those that tile it, as LLaVA-OneVision."""


def shape_of(values: dict[str, Any], where: str) -> Shape:
    """The sizes in the content of a LLaVA's config.json.

    Args:
        where: it comes from, for messages.

    Raises:
        UserError: it is none of a LLaVA, or has sizes that are none.
    """
    kind = str(values.get("model_type")).removeprefix("cli_")
    if "mm_vision_tower" in values:
        raise UserError(
            f"{where} is in LLaVA's original format, whose tokenizer decides the vocabulary: name the converted "
            "model of that size, such as llava-hf/llava-1.5-7b-hf, by --shape"
        )
    if kind not in FAMILIES:
        raise UserError(f"{where} has model_type = {kind!r}; planned are {', '.join(FAMILIES)}")
    vision, text = tower_of(values.get("vision_config"), where), text_of(values.get("text_config"), where)
    given = {name: value for name, value in values.items() if value is not None}
    if kind == "llava_onevision":
        given.setdefault("image_grid_pinpoints", pinpoints(vision.image_size))
    fields = (TILED if "image_grid_pinpoints" in given else SQUARE) | given
    tied = bool(values.get("tie_word_embeddings")) or text.tie_word_embeddings
    fields |= {"family": kind, "vision_config": vision, "text_config": text, "tie_word_embeddings": tied}
    return _checked(Shape, fields, where)


def tower_of(values: object, where: str) -> Tower:
    """The sizes of a vision tower, from its config.json or the part of a LLaVA's; of CLIP and SigLIP alone."""
    given = _mapping(values, where)
    given = _mapping(given.get("vision_config", given), where)
    kind = str(given.get("model_type", "clip_vision_model")).removesuffix("_vision_model")
    if kind not in TOWERS:
        raise UserError(f"{where}: the vision tower is a {kind!r}; planned are {', '.join(TOWERS)}")
    return _checked(Tower, TOWERS[kind] | given | {"model_type": f"{kind}_vision_model"}, where)


def text_of(values: object, where: str) -> Text:
    """The sizes of a language model, likewise; of Llama and Qwen2 alone."""
    given = {name: value for name, value in _mapping(values, where).items() if value is not None}
    kind = given.setdefault("model_type", "llama")
    if kind not in TEXTS:
        raise UserError(f"{where}: the language model is a {kind!r}; planned are {', '.join(TEXTS)}")
    given = TEXTS[kind] | given
    given.setdefault("num_key_value_heads", given["num_attention_heads"])
    return _checked(Text, given, where)


def pinpoints(side: int, most: int = 6) -> list[tuple[int, int]]:
    """The canvases of 1 x 1 to `most` x `most` tiles of `side` pixels."""
    sizes = [side * count for count in range(1, most + 1)]
    return [(height, width) for height in sizes for width in sizes]


def _mapping(values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(f"{where}: vision_config and text_config are no tables")
    return values


def _checked(kind: type[_Kind], values: dict[str, Any], where: str) -> _Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, fault["loc"]))
        message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise UserError(": ".join(filter(None, [where, field, message]))) from None
