"""Counted activations against what autograd keeps of a forward pass, byte by byte of its saved tensors."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from cli_ray.costs.activations import FP32, Batch, activations
from tests.costs.models import ALL, IMAGE, batch_of, model_of, run_of

CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "all": (ALL, {}),
    "plain": (ALL, {"kind": "none"}),
    "tower frozen": (("projector", "amp", "agf", "llm"), {}),
    "amp and agf": (("amp", "agf"), {}),
    "agf alone": (("agf",), {}),
    "lora": (("projector", "amp", "agf", "lora"), {}),
    "external": (ALL, {"kind": "external"}),
    "full projectors, normed": (("amp", "agf"), {"amp": {"projector": "full", "norm": True}}),
}
FAST = ("all", "amp and agf")
MARKED = [case if case in FAST else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
SUPERVISED = 10


class Saved:
    """A tensor that autograd holds; gone when its graph is."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved_bytes(model: PreTrainedModel, inputs: dict[str, Tensor]) -> int:
    """Of the storages that wait for the backward pass, without the model's own."""
    held: weakref.WeakSet[Saved] = weakref.WeakSet()

    def keep(tensor: Tensor) -> Saved:
        saved = Saved(tensor)
        held.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        output = model(**inputs)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = [saved.tensor.untyped_storage() for saved in held]
    assert output.nll.requires_grad
    return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointing"])
@pytest.mark.parametrize(("precision", "packed"), [("bf16", True), ("fp32", False)])
@pytest.mark.parametrize("case", MARKED)
def test_activations_are_what_autograd_keeps(
    family: str, case: str, precision: str, packed: bool, checkpointing: bool
) -> None:
    parts, injection = CASES[case]
    train = {"precision": precision, "packing": packed, "activation_checkpointing": checkpointing}
    run = run_of(family, parts, rank=4 if "lora" in parts else 0, train=train, injection=injection)
    model = model_of(run)
    inputs = batch_of(model, packed=packed)
    tiles = inputs["pixel_values"].shape[:2].numel() if family != "llava" else len(inputs["pixel_values"])
    visual = int((inputs["input_ids"] == IMAGE).sum())
    batch = Batch(inputs["input_ids"].numel(), tiles, visual, 2 * SUPERVISED)
    planned = activations(model.config, model.config.injection, run, batch)
    logits = 2 * SUPERVISED * model.config.text_config.vocab_size * FP32  # of the loss, which `saved` leaves out
    assert planned.saved + logits == pytest.approx(saved_bytes(model, inputs), rel=0.08)


def test_a_frozen_tower_does_not_go_backward_with_checkpointing(family: str) -> None:
    model = model_of(run_of(family, ("agf", "llm"), train={"activation_checkpointing": True}))
    needs: list[bool] = []
    for module in model.model.vision_tower.modules():
        module.register_forward_hook(lambda _module, _inputs, output: needs.append(requires_grad(output)))
    model(**batch_of(model, packed=True)).nll.sum().backward()
    assert len(needs) > 20
    assert not any(needs)


def requires_grad(output: Any) -> bool:
    first = output if isinstance(output, Tensor) else output[0]
    return bool(first.requires_grad)
