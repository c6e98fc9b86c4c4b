"""Counted parameters and FLOPs against the model itself and against the table of published sizes."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.costs.sizes import resolve
from cli_ray.model.cost import Cost, SampleSize, cost, describe, step_costs, typical_sample
from cli_ray.model.tiny import build_tiny
from cli_ray.tiles import Budget
from tests.model.batches import batch, cli_model, injection
from tests.model.shapes import llava_7b, onevision

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


def run_of(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "x",
        "model": {"checkpoint": "tiny"},
        "data": {"sources": [{"path": "a"}]},
        "optim": {part: {"lr": 1e-5} for part in ("projector", "llm", "amp", "agf")},
    }
    return RunConfig.model_validate(values | changes)


def costs_of(config: Any, run: RunConfig) -> dict[str, int]:
    return step_costs(config, resolve(InjectionConfig(), config), run)


def test_the_cost_of_a_step_is_that_of_its_passes() -> None:
    """With all of it trained a step takes three times the forward FLOPs, with half of the pairs in attention."""
    config = llava_7b()
    rates = {part: {"lr": 1e-5} for part in ("vision_tower", "projector", "llm", "amp", "agf")}
    costs = costs_of(config, run_of(optim=rates))
    assert costs["token"] == 10**6
    unit = 32 * 4096 * (4 * 8192 + 6 * 11008)  # forward FLOPs of a token in the decoder layers
    sample = SampleSize(1, 576, 64)
    spent = cost(config, resolve(InjectionConfig(), config), sample)
    polynomial = costs["tile"] + (10**6 + 2 * costs["pair"] * sample.length) * sample.length + costs["supervised"]
    forward = spent.base_flops + spent.projection_flops + spent.low_rank_flops
    assert polynomial / 10**6 == pytest.approx(forward / unit, rel=0.005)


def test_what_is_frozen_costs_less() -> None:
    config = llava_7b()
    tuned, towed = (
        run_of(),
        run_of(optim={"vision_tower": {"lr": 1e-6}, "llm": {"lr": 1e-5}, "projector": {"lr": 1e-5}}),
    )
    frozen = run_of(optim={"projector": {"lr": 1e-3}})
    again = run_of(train={"activation_checkpointing": True})
    assert costs_of(config, tuned)["tile"] < 0.6 * costs_of(config, towed)["tile"]
    # A token is the unit: 3 passes with its weights trained, 2 without, 4 with recomputation.
    assert costs_of(config, frozen)["pair"] == pytest.approx(1.5 * costs_of(config, tuned)["pair"], abs=1)
    assert costs_of(config, again)["pair"] == costs_of(config, tuned)["pair"]
    assert costs_of(config, again)["supervised"] == pytest.approx(0.75 * costs_of(config, tuned)["supervised"], abs=1)


def test_costs_stay_what_they_are() -> None:
    """The order of a run follows from them; one that goes on has them in its state."""
    costs = {"tile": 26_053_151, "token": 1_000_000, "pair": 20, "supervised": 20_280}
    assert costs_of(llava_7b(), run_of()) == costs


def test_the_typical_image_keeps_within_the_budget() -> None:
    config = onevision(3584, 18944, 28, 28, 4)
    assert typical_sample(config) == SampleSize(10, 7371)
    assert typical_sample(config, Budget(4)) == SampleSize(5, 3699)
    assert typical_sample(config, Budget(None, 2048)) == SampleSize(2, 1485)
