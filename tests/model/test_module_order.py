"""Ranks call the modules with parameters in one order, whatever their batches hold: ZeRO-3 gathers weights by it."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from cli_ray.model import attach
from cli_ray.model.tiny import tiny_processor
from tests.model import batches, stock


def order(model: PreTrainedModel, inputs: dict[str, Tensor]) -> list[str]:
    """The modules with weights of their own, in the order in which a training pass calls them."""
    called: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    model.train()
    model(**inputs, labels=inputs["input_ids"], use_cache=False)
    for handle in handles:
        handle.remove()
    return called


def models(kind: str) -> tuple[PreTrainedModel, dict[str, Tensor], dict[str, Tensor]]:
    """A model with injection, a batch with images and one without."""
    if kind in stock.STOCK:
        model = attach(stock.build(kind), batches.injection(decoder_layers=[0, 1, 3]))
        return model, stock.batch(kind, (1, 1)), stock.batch(kind, (0, 0))
    processor: Any = tiny_processor(kind)
    return batches.cli_model(kind), batches.batch(processor, (1, 1)), batches.batch(processor, (0, 0))


@pytest.mark.parametrize("kind", ["llava", "llava_onevision", *stock.STOCK])
def test_a_batch_without_images_calls_modules_in_the_order_of_one_with_them(kind: str) -> None:
    model, shown, blind = models(kind)
    with torch.no_grad():
        assert order(model, blind) == order(model, shown)
