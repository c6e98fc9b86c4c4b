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

from transformers import AutoTokenizer, ProcessorMixin

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.assemble import family_template, rows_of, vision_config
from cli_ray.model.families import family_named
from cli_ray.model.family import OriginalFormat
from cli_ray.model.location import located
from cli_ray.registry import FAMILIES

_SETTINGS = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": "None",
    "mm_use_im_start_end": "False|None",
}
"""Patterns of the settings that are read in every family; others make another model."""
_ROUNDING = 64
"""Embeddings that grow do so to a multiple of this, as in the converted checkpoints on the hub."""


def is_original(values: Mapping[str, Any]) -> bool:
    """Whether the content of a config.json is that of an original LLaVA."""
    return "mm_vision_tower" in values


def architecture(values: Mapping[str, Any]) -> str:
    """The class that an original checkpoint was saved from; empty if its config does not say."""
    if values.get("architectures"):
        return str(values["architectures"][0])
    kind = values.get("model_type")
    return next((form.architecture for form in _formats().values() if kind in form.model_types), "")


def original_family(values: Mapping[str, Any]) -> str | None:
    """The name of the family that an original checkpoint is of; None if none is read that has its architecture."""
    return next((name for name, form in _formats().items() if form.architecture == architecture(values)), None)


def _formats() -> dict[str, OriginalFormat]:
    """By the names of the families that have one."""
    return {name: form for name in FAMILIES if (form := family_named(name).original) is not None}


def original_config(model: ModelConfig, values: Mapping[str, Any]) -> Any:
    """The config of the plain LLaVA that an original checkpoint is, the image token among its embeddings.

    Args:
        values: the content of its config.json.

    Raises:
        UserError: it has parts or settings that are not read.
        OSError: its vision tower cannot be read.
    """
    _check(model, values)
    _refuse_projector(model.checkpoint)
    vision, tokenizer = _vision(model, values), original_tokenizer(model)
    text = text_config(model, values)
    if rows_of(tokenizer) > text.vocab_size:
        text.vocab_size = -(-rows_of(tokenizer) // _ROUNDING) * _ROUNDING
    tokens = {
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "bos_token_id": text.bos_token_id,
        "eos_token_id": text.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    family = family_named(model.family)
    own_fields = family.original_fields(values, tokenizer.convert_tokens_to_ids, vision)
    return family.plain_class.config_class(vision_config=vision, text_config=text, **tokens, **own_fields)


def text_config(model: ModelConfig, values: Mapping[str, Any]) -> Any:
    """The config of the language model as it is stored, before the image token is added."""
    text_class = family_named(model.family).text_config_class
    known = {field.name for field in fields(text_class)} - {"architectures"} | {"rope_theta", "rope_scaling"}
    return text_class(**{key: value for key, value in values.items() if key in known})


def original_processor(model: ModelConfig, values: Mapping[str, Any]) -> ProcessorMixin:
    """Tokenizer of the checkpoint, images as its vision tower reads them, chat template of the family.

    Raises:
        UserError: as `original_config`.
        OSError: as `original_config`.
    """
    _check(model, values)
    vision, tokenizer = _vision(model, values), original_tokenizer(model)
    template = family_template(model.family, tokenizer)
    return family_named(model.family).original_processor(values, tokenizer, vision, template)


def original_tokenizer(model: ModelConfig) -> Any:
    """The checkpoint's tokenizer with the tokens that the converted checkpoints on the hub add to it."""
    family = family_named(model.family)
    tokenizer = AutoTokenizer.from_pretrained(
        **located(model.checkpoint, model.revision), config=family.text_config_class()
    )
    tokenizer.add_tokens(list(family.image_tokens), special_tokens=True)
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


def _check(model: ModelConfig, values: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that is not read; UserError."""
    kind, formats = architecture(values), _formats()
    where = f"model.checkpoint = {model.checkpoint!r}, in LLaVA's original format,"
    name = original_family(values)
    if name is None:
        known = ", ".join(form.architecture for form in formats.values())
        raise UserError(f"{where} is a {kind or values.get('model_type')}; those that are read are {known}")
    if refusal := family_named(name).refusal_of_original(values):
        raise UserError(f"{where} is {refusal}")
    if name != model.family:
        raise UserError(f"{where} is a {kind}, but model.family = {model.family!r}: set it to {name!r}")
    for field, read in (_SETTINGS | {**formats[name].settings}).items():
        if not re.fullmatch(read, str(values.get(field))):
            raise UserError(f"{where} has {field} = {values.get(field)!r} in config.json, which is not read: {read} is")
