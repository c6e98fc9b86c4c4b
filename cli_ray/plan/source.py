"""Finds the shape of the model that a config names: known, in a folder, or in the cache of the hub; never the network.

Called by `estimate`.
"""

import json
from pathlib import Path
from typing import Any

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.plan.known import CHECKPOINTS, PARTS, known_shape, tiny_shape
from cli_ray.plan.shape import Shape, shape_of, text_of, tower_of


def shape_named(model: ModelConfig, like: str = "") -> Shape:
    """The shape of a run's model.

    Args:
        model: section of the config.
        like: a known checkpoint of the same shape, or a folder, to be read instead.

    Raises:
        UserError: its config.json is not at hand or cannot be used.
    """
    name = like or model.checkpoint
    if name == "tiny":
        shape = tiny_shape(model.family)
    elif name:
        shape = known_shape(name) or shape_of(_values(name, model.revision, "model.checkpoint"), name)
    else:
        shape = _joined(model)
    if shape.family != model.family:
        raise UserError(f"{name} is a {shape.family}, but model.family = {model.family!r}: set the one that it is")
    return shape


def _joined(model: ModelConfig) -> Shape:
    """As `model.assemble` joins a tower and a language model."""
    vision = tower_of(_part(model.vision_tower, model.revision, "model.vision_tower"), model.vision_tower)
    text = text_of(_part(model.language_model, model.revision, "model.language_model"), model.language_model)
    tower, words = vision.model_dump(), text.model_dump()
    if model.family == "llava_onevision":
        tower |= {"num_hidden_layers": vision.num_hidden_layers - 1, "vision_use_head": False}
    if text.model_type == "llama":
        words["vocab_size"] += 1  # <image>; Qwen2 has more embeddings than tokens
    return shape_of({"model_type": model.family, "vision_config": tower, "text_config": words}, "model")


def _part(name: str, revision: str, field: str) -> dict[str, Any]:
    return PARTS[name] if name in PARTS else _values(name, revision, field)


def _values(name: str, revision: str, field: str) -> dict[str, Any]:
    """The content of a config.json in a folder, or in the cache of the hub."""
    path = Path(name) / "config.json"
    if not path.parent.is_dir():
        path = _cached(name, revision, field)
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{field} = {name!r} has no config.json") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no table")
    return values


def _cached(name: str, revision: str, field: str) -> Path:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    identity, _, own = name.partition("@")
    try:
        path = try_to_load_from_cache(identity, "config.json", revision=own or revision)
    except HFValidationError:  # a path
        path = None
    if not isinstance(path, str):
        raise UserError(
            f"{field} = {name!r} is no folder with a config.json, is not in the cache of the hub, and its sizes are "
            f"not known; put its config.json into a folder of that name, or name one of the same shape by --shape, "
            f"such as {next(iter(CHECKPOINTS))}"
        )
    return Path(path)
