"""Checkpoints in the original LLaVA layout, as the code of LLaVA and LLaVA-NeXT saves them: config and processor.

They have one flat config, that of the language model, whose `mm_*` fields describe the images, and a tokenizer that
knows no image token. Source of the fields' meaning: LLaVA's `llava_arch.py` and `siglip_encoder.py`, and the scripts
`convert_llava_weights_to_hf.py` and `convert_llava_onevision_weights_to_hf.py` of transformers.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlamaConfig, LlavaConfig, LlavaOnevisionConfig, ProcessorMixin, Qwen2Config

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.assemble import family_template, join_processor, rows_of, vision_config
from cli_ray.model.location import located
from cli_ray.model.tiny import Family

TEXTS: dict[str, tuple[Family, Any]] = {
    "LlavaLlamaForCausalLM": ("llava", LlamaConfig),
    "LlavaQwenForCausalLM": ("llava_onevision", Qwen2Config),
}
_KINDS = {
    "llava": "LlavaLlamaForCausalLM",
    "llava_llama": "LlavaLlamaForCausalLM",
    "llava_qwen": "LlavaQwenForCausalLM",
}
_COMMON = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": "None",
    "mm_use_im_start_end": "False|None",
}
_READ: dict[Family, dict[str, str]] = {
    "llava": _COMMON | {"mm_vision_select_feature": "patch|cls_patch|None"},
    "llava_onevision": _COMMON
    | {
        "mm_vision_select_feature": "patch|None",
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": r"anyres_max_\d+",
    },
}
"""Patterns of the settings that are read; others make another model."""
_ROUNDING = 64
"""Embeddings that grow do so to a multiple of this, as in the converted checkpoints on the hub."""


def is_original(values: Mapping[str, Any]) -> bool:
    """Whether the content of a config.json is that of an original LLaVA."""
    return "mm_vision_tower" in values


def architecture(values: Mapping[str, Any]) -> str:
    """The class that an original checkpoint was saved from; empty if its config does not say."""
    named = values.get("architectures") or [_KINDS.get(str(values.get("model_type")), "")]
    return str(named[0])


def original_config(model: ModelConfig, values: Mapping[str, Any]) -> LlavaConfig | LlavaOnevisionConfig:
    """The config of the plain LLaVA that an original checkpoint is, the image token among its embeddings.

    Args:
        values: the content of its config.json.

    Raises:
        UserError: it has parts or settings that are not read.
        OSError: its vision tower cannot be read.
    """
    family = _check(model, values)
    _refuse_projector(model.checkpoint)
    vision, tokenizer = _vision(model, values), original_tokenizer(model, values)
    text = text_config(values)
    if rows_of(tokenizer) > text.vocab_size:
        text.vocab_size = -(-rows_of(tokenizer) // _ROUNDING) * _ROUNDING
    tokens = {
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "bos_token_id": text.bos_token_id,
        "eos_token_id": text.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if family == "llava":
        whole_image = values.get("mm_vision_select_feature") == "cls_patch"
        return LlavaConfig(
            vision_config=vision,
            text_config=text,
            vision_feature_layer=values.get("mm_vision_select_layer", -2),
            vision_feature_select_strategy="full" if whole_image else "default",
            image_seq_length=(vision.image_size // vision.patch_size) ** 2 + whole_image,
            **tokens,
        )
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        # The original tower lacks its last block, and reads the last one that is left whatever the config says.
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_grid(values, vision.image_size),
        vision_aspect_ratio=values["image_aspect_ratio"],
        **tokens,
    )


def text_config(values: Mapping[str, Any]) -> Any:
    """The config of the language model as it is stored, before the image token is added."""
    _, text_class = TEXTS[architecture(values)]
    known = {field.name for field in fields(text_class)} - {"architectures"} | {"rope_theta", "rope_scaling"}
    return text_class(**{key: value for key, value in values.items() if key in known})


def original_processor(model: ModelConfig, values: Mapping[str, Any]) -> ProcessorMixin:
    """Tokenizer of the checkpoint, images as its vision tower reads them, chat template of the family.

    Raises:
        UserError: as `original_config`.
        OSError: as `original_config`.
    """
    family = _check(model, values)
    vision, tokenizer = _vision(model, values), original_tokenizer(model, values)
    template = family_template(family, tokenizer)
    if family == "llava":
        return join_processor(family, tokenizer, vision, template, [])
    grid = _grid(values, vision.image_size)
    return join_processor(family, tokenizer, vision, template, grid, values["image_aspect_ratio"])


def original_tokenizer(model: ModelConfig, values: Mapping[str, Any]) -> Any:
    """The checkpoint's tokenizer with the tokens that the converted checkpoints on the hub add to it."""
    family, text_class = TEXTS[architecture(values)]
    tokenizer = AutoTokenizer.from_pretrained(**located(model.checkpoint, model.revision), config=text_class())
    tokenizer.add_tokens(["<image>"] if family == "llava" else ["<image>", "<video>"], special_tokens=True)
    # Vicuna's pad token is <unk>, which texts may hold too.
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.unk_token:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def tower_of(model: ModelConfig, values: Mapping[str, Any]) -> tuple[str, str, str]:
    """Folder or hub id of the vision tower, its revision there, and the field that names it."""
    if model.vision_tower:
        return model.vision_tower, model.revision, "model.vision_tower"
    return str(values["mm_vision_tower"]), "main", f"mm_vision_tower in the config.json of {model.checkpoint}"


def _refuse_projector(checkpoint: str) -> None:
    """What LLaVA's first stage leaves is a projector beside the config of the whole."""
    folder = Path(checkpoint)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise UserError(
            f"model.checkpoint = {checkpoint!r} has no weights (*.safetensors, pytorch_model*.bin) but, if any, those "
            "of a projector (mm_projector.bin), which is not read alone: train one with model.vision_tower and "
            "model.language_model, or name a whole checkpoint"
        )


def _vision(model: ModelConfig, values: Mapping[str, Any]) -> Any:
    name, revision, field = tower_of(model, values)
    try:
        vision = vision_config(model.family, name, revision, field)
    except OSError as error:
        raise UserError(
            f"{field} = {name!r} cannot be read, as a folder or from the hub; set model.vision_tower to where it "
            f"lies: {error}"
        ) from error
    if values.get("mm_hidden_size", vision.hidden_size) != vision.hidden_size:
        raise UserError(
            f"{field} = {name!r} has hidden_size = {vision.hidden_size}, but mm_hidden_size = "
            f"{values['mm_hidden_size']} in the config.json of {model.checkpoint}: name its own tower"
        )
    return vision


def _check(model: ModelConfig, values: Mapping[str, Any]) -> Family:
    """The family of a checkpoint that can be read; UserError for the others."""
    kind = architecture(values)
    where = f"model.checkpoint = {model.checkpoint!r}, in LLaVA's original format,"
    if kind not in TEXTS:
        raise UserError(f"{where} is a {kind or values.get('model_type')}; those that are read are {', '.join(TEXTS)}")
    family, _ = TEXTS[kind]
    anyres = str(values.get("image_aspect_ratio", "")).startswith("anyres")
    if family == "llava" and anyres:
        raise UserError(
            f"{where} is a LLaVA-NeXT (image_aspect_ratio = {values['image_aspect_ratio']!r} on a Llama), which is not "
            "read; the nearest are liuhaotian/llava-v1.5-7b and, with tiles, llava-hf/llava-onevision-qwen2-7b-si-hf"
        )
    if family != model.family:
        raise UserError(f"{where} is a {kind}, but model.family = {model.family!r}: set it to {family!r}")
    for field, read in _READ[family].items():
        if not re.fullmatch(read, str(values.get(field))):
            raise UserError(f"{where} has {field} = {values.get(field)!r} in config.json, which is not read: {read} is")
    return family


def _grid(values: Mapping[str, Any], side: int) -> list[list[int]]:
    """Resolutions that an image may be cut into, (height, width) in pixels; the original has (width, height), or the
    first and the last number of tiles as text, `(1x1),...,(6x6)`."""
    stored = values.get("image_grid_pinpoints") or []
    if isinstance(stored, str):
        pairs = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+)x(\d+)\)", stored)]
        (first_column, first_row), (last_column, last_row) = (pairs[0], pairs[-1]) if pairs else ((1, 1), (0, 0))
        columns, rows = range(first_column, last_column + 1), range(first_row, last_row + 1)
        stored = [(column * side, row * side) for column in columns for row in rows]
    if not stored:
        raise UserError(f"image_grid_pinpoints = {values.get('image_grid_pinpoints')!r} in config.json names no sizes")
    return [[height, width] for width, height in stored]
