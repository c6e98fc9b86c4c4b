"""Counted parameters and FLOPs against the model itself and against the table of published sizes."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaOnevisionConfig,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2Config,
    SiglipVisionConfig,
)

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.model.configuration import resolve
from cli_ray.model.cost import Cost, SampleSize, cost, describe, typical_sample
from cli_ray.model.tiles import Budget
from cli_ray.model.tiny import build_tiny
from tests.model.batches import batch, cli_model, injection

KINDS: list[dict[str, Any]] = [
    {},
    {"kind": "none"},
    {"kind": "external"},
    {"kind": "amp_only"},
    {"agf": {"shared": True}},
    {"amp": {"projector": "full", "norm": True}},
    {"amp": {"projector": "shared"}},
]


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_counts_match_the_model(
    family: str, processor: ProcessorMixin, plain_model: PreTrainedModel, changes: dict[str, Any]
) -> None:
    model = cli_model(family, **changes)
    inputs = batch(processor, [1])
    visual = int((inputs["input_ids"] == model.config.image_token_id).sum())
    tiles = 1 if family == "llava" else inputs["pixel_values"].shape[1]
    sample = SampleSize(tiles, visual, inputs["input_ids"].shape[1] - visual)
    spent = cost(model.config, model.config.injection, sample)
    assert spent.added_parameters == count(model) - count(plain_model)
    base, whole = measured(build_tiny(family), inputs), measured(model, inputs)
    assert spent.base_flops == pytest.approx(base, rel=0.01)
    assert spent.added_flops == pytest.approx(whole - base, rel=0.05)


def count(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def measured(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> int:
    model.set_attn_implementation("eager")  # the counter does not know the CPU's fused attention
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs, logits_to_keep=1, use_cache=False)  # as in training; a kept cache holds the gates' context too
    total: int = counter.get_total_flops()
    return total


def llava_7b() -> LlavaConfig:
    text = LlamaConfig(vocab_size=32064)
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    return LlavaConfig(vision_config=vision, text_config=text)


def onevision(width: int, inner: int, layers: int, heads: int, keys: int) -> LlavaOnevisionConfig:
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
    )
    text = Qwen2Config(
        vocab_size=152000,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
    )
    return LlavaOnevisionConfig(vision_config=vision, text_config=text)


def of(config: Any, sample: SampleSize | None = None) -> Cost:
    asked = InjectionConfig.model_validate({"vision_layers": {"count": 8}, "decoder_layers": {"count": 8}})
    return cost(config, resolve(asked, config), sample or typical_sample(config))


@pytest.mark.parametrize(
    ("config", "sample", "tflop", "projection_share"),
    [
        (llava_7b(), None, 8.8, 0.022),
        (onevision(3584, 18944, 28, 28, 4), SampleSize(1, 730), 11.2, 0.018),
        (onevision(3584, 18944, 28, 28, 4), None, 115, 0.017),
        (onevision(896, 4864, 24, 14, 2), None, 14.1, 0.015),
    ],
    ids=["llava 7b", "onevision 7b, one view", "onevision 7b, 10 tiles", "onevision 0.5b, 10 tiles"],
)
def test_published_sizes(config: Any, sample: SampleSize | None, tflop: float, projection_share: float) -> None:
    """The table of the model research, section 7, for 8 vision and 8 decoder layers (it halves attention)."""
    spent = of(config, sample)
    assert spent.base_flops / 1e12 == pytest.approx(tflop, rel=0.2)
    assert spent.projection_flops / spent.base_flops == pytest.approx(projection_share, rel=0.2)
    assert spent.gate_flops / spent.base_flops < 0.0012
    assert spent.inject_flops / spent.base_flops < 0.0002


def test_parameters_of_7b() -> None:
    spent = of(llava_7b())
    assert spent.amp_parameters == 8 * 16 * (1024 + 4096)
    assert 8e6 < spent.agf_parameters < 10e6


def test_the_paragraph_names_the_numbers(family: str) -> None:
    run = RunConfig.model_validate(
        {
            "name": "x",
            "model": {"checkpoint": "tiny", "family": family},
            "data": {"sources": [{"path": "a"}]},
            "train": {"global_batch_size": 8},
        }
    )
    model = cli_model(family)
    text = describe(model, run)
    added = sum(p.numel() for module in model.model.injected_modules() for p in module.parameters())
    assert f"adds {added / 1e6:.2f} M parameters" in text
    assert "A step of 8 such samples" in text
    assert injection().kind in text


def test_the_typical_image_keeps_within_the_budget() -> None:
    config = onevision(3584, 18944, 28, 28, 4)
    assert typical_sample(config) == SampleSize(10, 7371)
    assert typical_sample(config, Budget(4)) == SampleSize(5, 3699)
    assert typical_sample(config, Budget(None, 2048)) == SampleSize(2, 1485)
