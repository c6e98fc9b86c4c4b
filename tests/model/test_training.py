"""Gradients: who gets them, and that checkpointing does not change them."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.config import InjectionConfig, LoraConfig, ModelConfig
from cli_ray.model.build import build_model
from cli_ray.model.parameters import part_of
from tests.model.batches import batch, cli_model, injection, open_gates

KINDS = pytest.mark.parametrize("kind", ["cli", "none", "amp_only", "deepstack", "static", "external"])


def built(family: str, config: InjectionConfig, lora: int = 0) -> PreTrainedModel:
    model = ModelConfig(family=family, checkpoint="tiny")
    return build_model(model, config, LoraConfig(rank=lora, dropout=0.0), dtype=torch.float32, seed=0).train()


def gradients(model: PreTrainedModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, :6] = -100
    model.zero_grad(set_to_none=True)
    model(**inputs, labels=labels).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@KINDS
@pytest.mark.parametrize("counts", [[1, 3, 0], [0, 0]], ids=["images", "text only"])
def test_every_trainable_parameter_is_touched(
    family: str, processor: ProcessorMixin, kind: str, counts: list[int]
) -> None:
    model = built(family, injection(kind=kind), lora=2)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    touched = gradients(model, batch(processor, counts))
    assert touched.keys() == trainable
    if sum(counts) == 0:
        visual = [part_of(name) != "lora" for name in touched]
        assert any(visual)
        assert not any(grad.any() for name, grad in touched.items() if part_of(name) != "lora")


@pytest.mark.parametrize("full", [False, True])
def test_all_parts_get_gradients_that_are_not_zero(family: str, processor: ProcessorMixin, full: bool) -> None:
    model = built(family, injection(amp={"projector": "full" if full else "low_rank", "norm": True}))
    open_gates(model)
    zero = [name for name, grad in gradients(model, batch(processor, [1, 2])).items() if not grad.any()]
    # Softmax does not see a constant added to all keys.
    assert [name for name in zero if not name.endswith("k_proj.bias")] == []


def test_a_dummy_pass_changes_nothing(family: str, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [0, 0])
    model = cli_model(family)
    with torch.no_grad():
        evaluated, trained = model(**inputs), model.train()(**inputs)
    assert torch.equal(evaluated.logits, trained.logits)
    assert trained.gates is None


@pytest.mark.parametrize("context", ["prompt", "visual"])
def test_checkpointing_gives_equal_gradients(family: str, processor: ProcessorMixin, context: str) -> None:
    inputs = batch(processor, [1, 3, 0])
    model = built(family, injection(agf={"context": context}))
    open_gates(model)
    expected = gradients(model, inputs)
    model.activation_checkpointing_enable()
    found = gradients(model, inputs)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[name], atol=1e-6), name


def test_frozen_tower_and_projector_leave_no_graph_behind(family: str, processor: ProcessorMixin) -> None:
    model = built(family, injection())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in ("amp", "agf"))
    open_gates(model)
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    inputs = batch(processor, [1, 2])
    pixels = [inputs.get(name) for name in ("pixel_values", "image_sizes", "batch_num_images")]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encoded = model.model.encode(*pixels)
    # The stacked inputs of the low-rank path, its inner product and its weights; nothing of the tower.
    assert encoded.features_NRD.requires_grad
    assert len(saved) <= 8
    assert gradients(model, inputs).keys() == {n for n, p in model.named_parameters() if p.requires_grad}


def test_unused_vision_blocks_are_frozen(family: str) -> None:
    model = built(family, injection())
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    tower = "model.vision_tower"
    unused = ("post_layernorm", "encoder.layers.5") if family == "llava" else ("post_layernorm",)
    assert frozen
    assert all(name.startswith(tuple(f"{tower}.{part}." for part in unused)) for name in frozen)


@pytest.mark.slow
def test_compiled_text_model_is_one_graph(family: str, processor: ProcessorMixin) -> None:
    model = cli_model(family)
    inputs = batch(processor, [1, 2])
    with torch.no_grad():
        expected = model(**inputs)
        model.model.language_model.forward = torch.compile(
            model.model.language_model.forward, backend="eager", fullgraph=True
        )
        found = model(**inputs)
    assert torch.allclose(found.logits, expected.logits, atol=1e-6)
