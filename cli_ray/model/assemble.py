"""A plain LLaVA from a vision tower and a language model, joined by a fresh projector."""

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    ProcessorMixin,
    SiglipVisionModel,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.location import located, read_config
from cli_ray.model.parameters import partitioning_off, whole
from cli_ray.model.processor import CliLlavaOnevisionProcessor, CliLlavaProcessor
from cli_ray.model.tiny import CHAT_TEMPLATES, Family

TOWERS: dict[str, tuple[str, Any]] = {
    "llava": ("clip", CLIPVisionModel),
    "llava_onevision": ("siglip", SiglipVisionModel),
}
GRID = 6
"""OneVision cuts an image into at most 6 x 6 tiles, as the published checkpoints do."""


def assemble_processor(model: ModelConfig) -> ProcessorMixin:
    """The processor of `assemble`: the tower's image size, the language model's tokenizer.

    The chat template is the tokenizer's, or the family's where it has none.
    """
    tokenizer, vision = _tokenizer(model), _vision_config(model)
    template = tokenizer.chat_template or family_template(model.family, tokenizer)
    return join_processor(model.family, tokenizer, vision, template, pinpoints(vision.image_size))


def family_template(family: Family, tokenizer: Any) -> str:
    """The chat template of a family, with the tokenizer's own end token."""
    return CHAT_TEMPLATES[family].replace("</s>", tokenizer.eos_token)


def join_processor(
    family: Family,
    tokenizer: Any,
    vision: Any,
    template: str,
    grid: list[list[int]],
    aspect_ratio: str = "anyres_max_9",
) -> ProcessorMixin:
    """A processor for a vision tower.

    Args:
        vision: config of the tower.
        grid: OneVision only, resolutions that an image may be cut into, (height, width) in pixels.
        aspect_ratio: OneVision only, `anyres_max_N`: above N tiles the features are scaled down.
    """
    side = vision.image_size
    square = {"height": side, "width": side}
    if family == "llava":
        return CliLlavaProcessor(
            LlavaImageProcessorPil(size={"shortest_edge": side}, crop_size=square),
            tokenizer,
            patch_size=vision.patch_size,
            vision_feature_select_strategy="default",
            chat_template=template,
            num_additional_image_tokens=1,
        )
    mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return CliLlavaOnevisionProcessor(
        LlavaOnevisionImageProcessorPil(size=square, image_grid_pinpoints=grid, **mean),
        tokenizer,
        num_image_tokens=(side // vision.patch_size) ** 2,
        vision_feature_select_strategy="full",
        chat_template=template,
        vision_aspect_ratio=aspect_ratio,
    )


def assemble(model: ModelConfig, dtype: torch.dtype) -> PreTrainedModel:
    """A plain LLaVA of `model.family`, its projector and new tokens drawn from the global generator.

    What they draw depends on its state alone, not on the ZeRO stage, at which the parts may load in other ways.

    Raises:
        UserError: the vision tower is not of the kind that the family has.
    """
    tokenizer, config = _tokenizer(model), joined_config(model)
    with partitioning_off():
        joined = _frame(model, config.vision_config, config.text_config, tokenizer).to(dtype)
    after_frame = torch.get_rng_state()
    vision = load_tower(model, located(model.vision_tower, model.revision), _vision_config(model), dtype)
    language = AutoModelForCausalLM.from_pretrained(
        **located(model.language_model, model.revision), dtype=dtype, attn_implementation=model.attention
    )
    joined.model.vision_tower, joined.model.language_model = vision, language.model
    joined.lm_head, joined.generation_config = language.lm_head, language.generation_config
    joined.config.vision_config, joined.config.text_config = vision.config, language.config
    joined.config.tie_word_embeddings = language.config.tie_word_embeddings
    joined.tie_weights()
    known = language.config.vocab_size
    if rows_of(tokenizer) > known:
        joined.resize_token_embeddings(rows_of(tokenizer), mean_resizing=False)
        torch.set_rng_state(after_frame)
        _draw_rows(joined, known)
    return joined.eval()


@torch.no_grad()
def _draw_rows(joined: PreTrainedModel, known: int) -> None:
    """The embeddings and output rows of new tokens, as a language model draws its own."""
    weights = {id(module.weight): module.weight for module in (joined.get_input_embeddings(), joined.lm_head)}
    for weight in weights.values():
        with whole([weight]):
            rows = torch.empty(len(weight) - known, weight.shape[1])
            weight[known:] = rows.normal_(std=joined.config.text_config.initializer_range).to(weight)


def rows_of(tokenizer: Any) -> int:
    """Embeddings that a tokenizer needs; its ids may have gaps."""
    return 1 + int(max(tokenizer.get_vocab().values()))


def joined_config(model: ModelConfig) -> LlavaConfig | LlavaOnevisionConfig:
    """The config that `assemble` gives its model, but for special tokens; reads no weights.

    Raises:
        UserError: the vision tower is not of the kind that the family has.
    """
    text = read_config(model.language_model, model.revision, "model.language_model")
    kind = LlavaConfig if model.family == "llava" else LlavaOnevisionConfig
    return kind(vision_config=_vision_config(model), text_config=text)


def _frame(model: ModelConfig, vision: Any, text: Any, tokenizer: Any) -> PreTrainedModel:
    """A LLaVA with the projector that joins the two, around parts of one thin layer each."""
    thin = {"num_hidden_layers": 1, "intermediate_size": 1}
    bare = {"vocab_size": 1, "layer_types": None, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    parts = {"vision_config": vision.to_dict() | thin, "text_config": text.to_dict() | thin | bare}
    tokens = {"image_token_index": tokenizer.convert_tokens_to_ids("<image>"), "pad_token_id": tokenizer.pad_token_id}
    if model.family == "llava":
        patches = (vision.image_size // vision.patch_size) ** 2
        return LlavaForConditionalGeneration(LlavaConfig(**parts, **tokens, image_seq_length=patches))
    tokens["video_token_index"] = tokenizer.convert_tokens_to_ids("<video>")
    config = LlavaOnevisionConfig(**parts, **tokens, image_grid_pinpoints=pinpoints(vision.image_size))
    return LlavaOnevisionForConditionalGeneration(config)


def _tokenizer(model: ModelConfig) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(**located(model.language_model, model.revision))
    tokens = ["<image>"] if model.family == "llava" else ["<image>", "<video>"]
    tokenizer.add_tokens(tokens, special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def _vision_config(model: ModelConfig) -> Any:
    return vision_config(model.family, model.vision_tower, model.revision, "model.vision_tower")


def vision_config(family: Family, name: str, revision: str, field: str) -> Any:
    """The config of a family's vision tower.

    Args:
        name: folder or hub id.
        field: that names it, for the message.

    Raises:
        UserError: it is not of the kind that the family has.
    """
    kind, _ = TOWERS[family]
    config = read_config(name, revision, field)
    if config.model_type.removesuffix("_vision_model") != kind:
        raise UserError(
            f"{field} = {name!r} is a {config.model_type}, but model.family = {family!r} has a {kind} tower"
        )
    vision = getattr(config, "vision_config", config)
    if family == "llava_onevision":
        # OneVision reads the last block but one; its published towers lack the last block and the head.
        vision.num_hidden_layers -= 1
        vision.vision_use_head = False
    return vision


def load_tower(model: ModelConfig, where: dict[str, str], config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """A vision tower with the layers that `config` has.

    Args:
        where: folder or hub id, from `located`.
    """
    tower: PreTrainedModel = TOWERS[model.family][1].from_pretrained(
        **where, config=config, dtype=dtype, attn_implementation=model.attention
    )
    return tower


def pinpoints(side: int) -> list[list[int]]:
    """The resolutions of `GRID` tiles of `side` pixels, (height, width) in pixels."""
    sizes = [side * count for count in range(1, GRID + 1)]
    return [[height, width] for height in sizes for width in sizes]
