"""Step 0 is plain LLaVA, bit for bit."""

from typing import Literal

import pytest
import torch
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.config import InjectionConfig
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny
from tests.model.batches import batch, injection, logits


def fresh(family: str, kind: str, attention: str) -> PreTrainedModel:
    model = build_tiny(family)
    model.set_attn_implementation(attention)
    return attach(model, injection(kind=kind))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["cli", "none", "external"])
def test_step_0_equals_the_plain_model(
    family: str, processor: ProcessorMixin, kind: Literal["cli", "none", "external"], attention: str
) -> None:
    inputs = batch(processor, [1, 3, 0])
    labels = inputs["input_ids"].clone()
    labels[:, :8] = -100
    plain = build_tiny(family)
    plain.set_attn_implementation(attention)
    model = fresh(family, kind, attention)
    with torch.no_grad():
        expected, found = plain(**inputs, labels=labels), model(**inputs, labels=labels)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)
    prompt = batch(processor, [1, 3, 0], side="left")
    settings = {"max_new_tokens": 6, "do_sample": False, "min_new_tokens": 6}
    assert torch.equal(model.generate(**prompt, **settings), plain.generate(**prompt, **settings))


def test_closed_gates_are_zero_and_open_ones_are_not(family: str, processor: ProcessorMixin) -> None:
    inputs = batch(processor, [1, 3])
    model = fresh(family, "cli", "sdpa")
    with torch.no_grad():
        assert model(**inputs).gates.shape == (3, 4, 3)
        assert not model(**inputs).gates.any()
        model.model.agf.bias.fill_(0.3)
        assert torch.allclose(model(**inputs).gates, torch.tensor(0.3).tanh())


@pytest.mark.parametrize(("gate", "start"), [("sigmoid", 1 / (1 + torch.e**4)), ("softmax", 1 / 3)])
def test_other_gates_start_where_they_say(family: str, processor: ProcessorMixin, gate: str, start: float) -> None:
    model = attach(build_tiny(family), injection(agf={"gate": gate}))
    with torch.no_grad():
        gates = model(**batch(processor, [1, 2])).gates
    assert torch.allclose(gates, torch.tensor(start))


@pytest.mark.parametrize("kind", ["cli", "amp_only", "deepstack", "static", "external"])
def test_every_kind_changes_the_logits_once_its_weights_move(
    family: str, processor: ProcessorMixin, plain_model: PreTrainedModel, kind: str
) -> None:
    """Fails when a release of transformers stops handing keyword arguments down to the decoder layers."""
    from tests.model.batches import open_gates

    inputs = batch(processor, [1, 0])
    model = fresh(family, kind, "sdpa")
    open_gates(model)
    changed = (logits(model, inputs) - logits(plain_model, inputs)).abs().amax((1, 2))
    assert changed[0] > 1e-3
    assert changed[1] == 0


def test_layers_are_printed_and_stored_resolved(family: str) -> None:
    from cli_ray.model.configuration import layer_map

    asked = InjectionConfig.model_validate({"vision_layers": {"stride": 2}, "decoder_layers": {"count": 2}})
    config = attach(build_tiny(family), asked).config
    deepest = 5 if family == "llava" else 6
    assert config.cli["vision_layers"]["layers"] == list(range(deepest % 2 or 2, deepest + 1, 2))
    assert config.cli["decoder_layers"]["layers"] == [0, 2]
    assert str(config.cli["vision_layers"]["layers"]) in layer_map(config.injection)
