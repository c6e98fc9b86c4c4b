"""Under autocast the weights stay fp32 and products are bf16."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, ProcessorMixin

from tests.model.batches import batch, cli_model

CHANGES: list[dict[str, Any]] = [
    *({"kind": kind} for kind in ("none", "amp_only", "deepstack", "static", "external")),
    *(
        {"agf": {"gate": gate, "context": context}}
        for gate in ("tanh", "sigmoid", "softmax")
        for context in ("prompt", "visual")
    ),
    *({"amp": {"projector": projector, "norm": True}} for projector in ("low_rank", "shared", "full")),
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_kind_trains_under_autocast(family: str, processor: ProcessorMixin, changes: dict[str, Any]) -> None:
    model = cli_model(family, **changes).train()
    inputs = batch(processor, [1, 2])
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, :6] = -100
    expected, wanted = result_of(model, inputs | {"labels": labels})
    with torch.autocast("cpu", torch.bfloat16):
        found, gradients = result_of(model, inputs | {"labels": labels})
    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=1e-2)
    assert found.gates is None or found.gates.dtype == torch.float32
    assert (gradients - wanted).norm() < 0.2 * wanted.norm()


def result_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> tuple[Any, torch.Tensor]:
    """The output and the flat gradient of all parameters."""
    model.zero_grad(set_to_none=True)
    output = model(**inputs)
    output.loss.backward()
    return output, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
