"""Counted FLOPs of forward and backward passes against what torch counts while they run."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.config import LoraConfig, OptimConfig
from cli_ray.costs.flops import Work, price
from cli_ray.model.lora import inject_lora
from cli_ray.model.parameters import part_of
from tests.model.batches import batch, cli_model

ALL = ("vision_tower", "projector", "amp", "agf", "llm")
NEW = ("amp", "agf")
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "all": (ALL, {}),
    "amp and agf": (NEW, {}),
    "amp and agf into later layers": (NEW, {"decoder_layers": [3]}),
    "agf alone": (("agf",), {}),
    "amp alone": (("amp",), {}),
    "tower frozen": (("projector", "amp", "agf", "llm"), {}),
    "language model alone": (("llm",), {}),
    "vision tower alone": (("vision_tower",), {}),
    "projector alone": (("projector",), {"kind": "none"}),
    "plain": (ALL, {"kind": "none"}),
    "lora": ((*NEW, "lora"), {}),
    "lora alone": (("lora",), {"kind": "none"}),
    "lora and projector": (("projector", "lora"), {"kind": "none"}),
    "external": (("amp",), {"kind": "external"}),
    "external, all": (ALL, {"kind": "external"}),
    "ungated": (("amp",), {"kind": "amp_only"}),
    "full projectors, normed": (NEW, {"amp": {"projector": "full", "norm": True}}),
    "shared projector": (("projector", "agf"), {"amp": {"projector": "shared"}}),
    "visual context, shared": (ALL, {"agf": {"context": "visual", "shared": True}}),
}
FAST = ("all", "amp and agf", "lora", "external, all")
MARKED = [case if case in FAST else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
RANK = 4
WORDS = (0, 60, 400)
SUPERVISED = 4


@pytest.mark.parametrize("case", MARKED)
def test_flops_are_those_that_run_at_every_length(family: str, processor: ProcessorMixin, case: str) -> None:
    parts, changes = CASES[case]
    model = cli_model(family, **changes).train()
    rank = RANK if "lora" in parts else 0
    if rank:
        inject_lora(model, LoraConfig(rank=rank))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in parts)
    model.set_attn_implementation("eager")  # the counter does not know the CPU's fused attention
    optim = OptimConfig.model_validate({part: {"lr": float(part in parts)} for part in (*ALL, "lora")})
    costs = price(model.config, model.config.injection, optim, rank)
    for words in WORDS:
        inputs = lengthened(batch(processor, [1]), words)
        assert work(model, family, inputs).times(costs) == pytest.approx(measured(model, inputs), rel=0.01)


def lengthened(inputs: dict[str, Tensor], words: int) -> dict[str, Tensor]:
    """With as many more tokens of text."""
    ids_1T = torch.cat([inputs["input_ids"], torch.full((1, words), 11)], 1)
    return inputs | {"input_ids": ids_1T, "attention_mask": torch.ones_like(ids_1T)}


def work(model: PreTrainedModel, family: str, inputs: dict[str, Tensor]) -> Work:
    """Of one sample with one image."""
    length = inputs["input_ids"].shape[1]
    tiles = 1 if family == "llava" else inputs["pixel_values"].shape[1]
    visual = int((inputs["input_ids"] == model.config.image_token_id).sum())
    return Work(1, tiles, visual, length, length**2, SUPERVISED, 1, length)


def measured(model: PreTrainedModel, inputs: dict[str, Tensor]) -> int:
    keep_1T = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    keep_1T[:, -SUPERVISED:] = True
    with FlopCounterMode(display=False) as counter:
        model(**inputs, logits_to_keep=keep_1T, use_cache=False).logits.sum().backward()
    total: int = counter.get_total_flops()
    return total
