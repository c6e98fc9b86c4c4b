"""Counted parameters are those of the built model, part by part, and those that it trains."""

from collections import defaultdict
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from cli_ray.config import RunConfig
from cli_ray.costs.parameters import parameters
from cli_ray.model.parameters import part_of
from tests.costs.models import ALL, model_of, run_of

INJECTIONS: list[dict[str, Any]] = [
    {},
    {"kind": "none"},
    {"kind": "external"},
    {"kind": "amp_only"},
    {"agf": {"shared": True}},
    {"amp": {"projector": "full", "norm": True}},
    {"amp": {"projector": "shared"}},
]


def built(model: PreTrainedModel, run: RunConfig) -> dict[str, tuple[int, int]]:
    """All and trained parameters of each part."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, parameter in model.named_parameters():
        counts[part_of(name)][0] += parameter.numel()
        counts[part_of(name)][1] += parameter.numel() * parameter.requires_grad
    return {part: (every, trained) for part, (every, trained) in counts.items()}


def counted(model: PreTrainedModel, run: RunConfig) -> dict[str, tuple[int, int]]:
    parts = parameters(model.config, model.config.injection, run.optim, run.lora)
    return {part: (count.all, count.trained) for part, count in parts.items()}


@pytest.mark.parametrize("injection", INJECTIONS, ids=str)
def test_parameters_are_those_of_the_model(family: str, injection: dict[str, Any]) -> None:
    run = run_of(family, injection=injection)
    with torch.device("meta"):
        model = model_of(run)
    assert counted(model, run) == built(model, run)


@pytest.mark.parametrize("parts", [("amp", "agf"), ("vision_tower",), ("projector", "lora")], ids=str)
def test_what_is_frozen_is_not_trained(family: str, parts: tuple[str, ...]) -> None:
    run = run_of(family, parts, rank=4 if "lora" in parts else 0)
    model = model_of(run)
    assert counted(model, run) == built(model, run)


def test_embeddings_that_the_head_shares_count_once() -> None:
    run = run_of("llava_onevision", ALL)
    tied, own = (model_of(run, tie_word_embeddings=value) for value in (True, False))
    assert counted(tied, run) == built(tied, run)
    assert built(own, run)["llm"][0] - built(tied, run)["llm"][0] == 1000 * 96
