"""The sizes of models are those of transformers' configs and of the models that are built of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, SiglipVisionConfig

from cli_ray.commands.configs import RECIPES
from cli_ray.config import InjectionConfig, LoraConfig, ModelConfig, OptimConfig
from cli_ray.config.load import load
from cli_ray.costs.parameters import parameters
from cli_ray.errors import UserError
from cli_ray.model import attach
from cli_ray.model.families import family_named
from cli_ray.model.lora import inject_lora
from cli_ray.model.parameters import part_of
from cli_ray.model.tiny import build_tiny
from cli_ray.plan.estimate import resolved
from cli_ray.plan.known import CHECKPOINTS, known_shape
from cli_ray.plan.shape import Shape, shape_of
from cli_ray.plan.source import shape_named
from tests.plan.configs import SEVEN

HERE = {"llava15_7b_stage2": SEVEN, "demo": "tiny"}
"""Shipped configs whose checkpoint is made by a run."""
SHIPPED = sorted(path.stem for path in (RECIPES / "configs").glob("*.toml"))


def built(shape: Shape, injection: InjectionConfig, lora: LoraConfig) -> dict[str, int]:
    """Parameters of the parts of a model that is made of nothing but sizes."""
    family, values = family_named(shape.family), shape.model_dump(mode="json", exclude={"family"}, exclude_none=True)
    towers = {"llava": CLIPVisionConfig, "llava_onevision": SiglipVisionConfig}
    vision, text = values.pop("vision_config"), values.pop("text_config")
    if not shape.image_grid_pinpoints:
        del values["vision_aspect_ratio"]
    config = family.plain_class.config_class(
        vision_config=towers[shape.family](num_attention_heads=16, **vision),
        text_config=family.text_config_class(**text),
        **values,
    )
    with torch.device("meta"):
        model = attach(family.plain_class(config), injection)
        if lora.rank:
            inject_lora(model, lora)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        counts[part_of(name)] = counts.get(part_of(name), 0) + parameter.numel()
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_parameters_of_shipped_configs_are_those_of_their_models(name: str) -> None:
    config = load(str(RECIPES / "configs" / f"{name}.toml"))
    shape = shape_named(config.model, HERE.get(name, ""))
    injection = resolved(config, shape)
    parts = parameters(shape, injection, config.optim, config.lora)
    assert {part: count.all for part, count in parts.items()} == built(shape, config.injection, config.lora)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llava-hf/llava-1.5-7b-hf", 7.06),
        ("llava-hf/llava-1.5-13b-hf", 13.35),
        ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", 0.894),
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf", 8.03),
        ("llava-hf/llava-onevision-qwen2-72b-ov-hf", 73.2),
    ],
)
def test_known_models_have_the_parameters_that_the_hub_says(name: str, billions: float) -> None:
    shape = known_shape(name)
    assert shape is not None
    parts = parameters(shape, InjectionConfig(kind="none"), OptimConfig(), LoraConfig())
    assert sum(count.all for count in parts.values()) / 1e9 == pytest.approx(billions, rel=0.001)


def test_the_tiny_model_and_a_saved_one_have_the_shape_of_their_config(family: str, tmp_path: Path) -> None:
    model = build_tiny(family)
    model.config.save_pretrained(tmp_path)
    read = shape_named(ModelConfig(family=family, checkpoint=str(tmp_path)))
    width = {"text_config": {"head_dim"}}  # Llama's config stores it, though it follows from the others
    made = shape_named(ModelConfig(family=family, checkpoint="tiny"))
    assert read.model_dump(exclude=width) == made.model_dump(exclude=width)
    parts = parameters(read, InjectionConfig(kind="none"), OptimConfig(), LoraConfig())
    assert sum(count.all for count in parts.values()) == sum(p.numel() for p in model.parameters())


BAD: list[tuple[Any, str]] = [
    ({"model_type": "qwen2_vl"}, "model_type = 'qwen2_vl'; planned are llava, llava_onevision"),
    ({"model_type": "llava", "vision_config": 3, "text_config": {}}, "no tables"),
    ({"model_type": "llava", "vision_config": {}, "text_config": {"model_type": "mamba"}}, "is a 'mamba'"),
    ({"model_type": "llava", "vision_config": {}, "text_config": {"hidden_size": "\x1b[31m"}}, "hidden_size"),
    ({"model_type": "llava", "vision_config": {"patch_size": 0}, "text_config": {}}, "patch_size"),
    (
        {"model_type": "llava", "vision_config": {}, "text_config": {"num_hidden_layers": 9**9}},
        "less than",
    ),
    ({"model_type": "llava", "vision_config": {}, "text_config": {}, "vision_feature_layer": 99}, "names no layer"),
    (
        {"model_type": "llava_onevision", "vision_config": {}, "text_config": {}, "image_grid_pinpoints": []},
        "at least 1",
    ),
    ({"mm_vision_tower": "x", "model_type": "llava"}, "original format"),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_config_json_that_cannot_be_planned_is_explained(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        shape_of(values, "config.json")
    assert "\x1b" not in str(error.value)


def test_a_model_that_is_not_at_hand_says_which_file_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"put its config.json into a folder of that name, or name one .* by --shape"):
        shape_named(ModelConfig(checkpoint="someone/never-heard-of"))
    with pytest.raises(UserError, match=r"has no config.json"):
        shape_named(ModelConfig(checkpoint=str(tmp_path)))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        shape_named(ModelConfig(checkpoint=str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps(CHECKPOINTS[SEVEN]))
    with pytest.raises(UserError, match=r"is a llava, but model.family = 'llava_onevision'"):
        shape_named(ModelConfig(family="llava_onevision", checkpoint=str(tmp_path)))


def test_a_model_in_the_cache_of_the_hub_is_read_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--some--one"
    (model / "snapshots" / "c0ffee").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("c0ffee")
    (model / "snapshots" / "c0ffee" / "config.json").write_text(json.dumps(CHECKPOINTS[SEVEN]))
    assert shape_named(ModelConfig(checkpoint="some/one")) == known_shape(SEVEN)
    assert shape_named(ModelConfig(checkpoint="some/one@c0ffee")) == known_shape(SEVEN)
