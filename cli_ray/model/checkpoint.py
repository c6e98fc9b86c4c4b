"""Which format and family a checkpoint has, before `build` reads it.

What is not read is refused in one line, with the nearest that is.
"""

import json
from typing import Any

from transformers.utils import cached_file

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.families import all_families, family_named, name_of
from cli_ray.model.location import config_values, located, read_config
from cli_ray.model.original_llava import is_original, original_config, original_family
from cli_ray.registry import ADAPTERS, FAMILIES

_TEXTS = ("llama", "qwen2")


def checkpoint_values(model: ModelConfig) -> dict[str, Any]:
    """The content of the checkpoint's config.json.

    Raises:
        UserError: it is an adapter, without the model that it belongs to.
        OSError: there is no such checkpoint.
    """
    _refuse_adapter(model)
    return config_values(model.checkpoint, model.revision)


def stored_family(values: dict[str, Any]) -> str | None:
    """The name of the family that the content of a config.json says; None where it says none that is read."""
    if is_original(values):
        return original_family(values)
    name = name_of(values.get("model_type"))
    return name if name in FAMILIES else None


def checkpoint_config(model: ModelConfig, values: dict[str, Any]) -> Any:
    """The config of a checkpoint in either format, as that of a plain or a CLI model.

    Args:
        values: from `checkpoint_values`.

    Raises:
        UserError: a format that is not read, or another family than `model.family`.
    """
    if is_original(values):
        return original_config(model, values)
    if model.vision_tower:
        raise UserError(
            f"model.checkpoint = {model.checkpoint!r} has a vision tower of its own: leave model.vision_tower out, "
            "which is for checkpoints in LLaVA's original format"
        )
    kind = str(values.get("model_type"))
    name = name_of(kind)
    if name not in FAMILIES:
        raise UserError(f"model.checkpoint = {model.checkpoint!r} is a {kind}, which is not read: {_nearest(kind)}")
    if name != model.family:
        raise UserError(f"model.checkpoint = {model.checkpoint!r} is a {kind}, but model.family = {model.family!r}")
    return read_config(model.checkpoint, model.revision, "model.checkpoint")


def check_text(config: Any) -> None:
    """Refuses a language model that injection does not know.

    Raises:
        UserError: it is neither a Llama nor a Qwen2.
    """
    kind = config.text_config.model_type
    if kind not in _TEXTS:
        raise UserError(f"the language model is a {kind}; those that features can be injected into are Llama and Qwen2")


def _nearest(kind: str) -> str:
    names = " and ".join(f"{name} ({family_named(name).title})" for name in FAMILIES)
    read = f"{names} are read, in Hugging Face's and in LLaVA's original format"
    if name_of(kind) in ADAPTERS:
        return (
            "cli_ray.model.attach gives it injection, but what encodes its images for training and evaluation is "
            f"missing; {read}"
        )
    if kind.startswith("llava_next"):
        return (
            f"{read}; the nearest are llava-hf/llava-1.5-7b-hf and, with tiles, llava-hf/llava-onevision-qwen2-7b-si-hf"
        )
    if kind in _TEXTS:
        return "it is a language model alone, give it as model.language_model with a model.vision_tower"
    if kind.removesuffix("_vision_model") in {family.tower for family in all_families()}:
        return "it is a vision tower alone, give it as model.vision_tower with a model.language_model"
    return read


def _refuse_adapter(model: ModelConfig) -> None:
    path = cached_file(
        located(model.checkpoint, model.revision)["pretrained_model_name_or_path"],
        "adapter_config.json",
        revision=located(model.checkpoint, model.revision)["revision"],
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return
    with open(path) as file:
        base = json.load(file).get("base_model_name_or_path")
    raise UserError(
        f"model.checkpoint = {model.checkpoint!r} is an adapter (adapter_config.json) of {base!r}, which is not read "
        "alone: merge it into that model (peft's merge_and_unload, or LLaVA's scripts/merge_lora_weights.py) and name "
        "the merged folder"
    )
