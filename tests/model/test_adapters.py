"""Families that have an adapter alone: injection keeps what the plain model is, and does what it says.

Shapes: B samples, T positions, N vision layers, M decoder layers, R visual rows, I images, D width.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel

from cli_ray.model import attach
from cli_ray.model.families import cli_classes
from cli_ray.model.parameters import part_of
from cli_ray.registry import ADAPTERS
from tests.model.batches import injection, logits, open_gates
from tests.model.stock import IMAGE, STOCK, batch, build

LENGTH = 5
GREEDY: dict[str, Any] = {
    "max_new_tokens": LENGTH,
    "min_new_tokens": LENGTH,
    "do_sample": False,
    "suppress_tokens": [IMAGE, 6],
}


@pytest.fixture(scope="module", params=list(STOCK))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def plain(kind: str) -> PreTrainedModel:
    return build(kind)


@pytest.fixture(scope="module")
def model(kind: str) -> PreTrainedModel:
    return adapted(kind)


def adapted(name: str, *, opened: bool = True, **changes: Any) -> PreTrainedModel:
    """A tiny model with injection."""
    layers = {"decoder_layers": [0, 1, 3]} if changes.get("kind") != "static" else {}
    built = attach(build(name), injection(**layers | changes))
    if opened:
        open_gates(built)
    return built


def test_every_adapter_is_tested() -> None:
    assert STOCK.keys() == ADAPTERS.keys()


@pytest.mark.parametrize("attention", ["sdpa", pytest.param("eager", marks=pytest.mark.slow)])
def test_closed_gates_equal_the_plain_model(kind: str, attention: str) -> None:
    stock, closed = build(kind), adapted(kind, opened=False)
    for each in (stock, closed):
        each.set_attn_implementation(attention)
    inputs = batch(kind, (1, 2, 0))
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    with torch.no_grad():
        expected, found = stock(**inputs, labels=labels), closed(**inputs, labels=labels)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)
    assert found.gates is not None
    assert not found.gates.any()
    prompt = batch(kind, (1, 2, 0), side="left")
    for settings in ({}, {"num_beams": 3}):
        assert torch.equal(
            closed.generate(**prompt, **GREEDY, **settings), stock.generate(**prompt, **GREEDY, **settings)
        )


@pytest.mark.parametrize(
    "rival", ["cli", "deepstack", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("amp_only", "static"))]
)
def test_open_gates_change_the_logits_of_samples_with_images(kind: str, plain: PreTrainedModel, rival: str) -> None:
    inputs = batch(kind, (1, 0))
    change = logits(adapted(kind, kind=rival), inputs) - logits(plain, inputs)
    assert change[0].abs().max() > 1e-3
    assert not change[1].any()


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=str)
def test_a_cached_reply_is_that_of_a_loop_without(kind: str, model: PreTrainedModel, settings: dict[str, int]) -> None:
    inputs = batch(kind, (1, 2, 0), side="left")
    cached = model.generate(**inputs, **GREEDY, **settings)
    assert torch.equal(cached, model.generate(**inputs, **GREEDY, **settings, use_cache=False))
    if not settings:
        start = inputs["input_ids"].shape[1]
        for step in range(LENGTH - 1):
            grown = {**inputs, "input_ids": cached[:, : start + step + 1]}
            new = grown["input_ids"].shape[1] - start
            for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
                if name in inputs:
                    fill = 1 if name == "attention_mask" else 0
                    grown[name] = torch.nn.functional.pad(inputs[name], (0, new), value=fill)
            turns = torch.nn.functional.pad(torch.zeros_like(inputs["input_ids"]), (0, new), value=1)
            scores = logits(model, grown, turn_ids=turns, use_cache=False)[:, -1]
            scores[:, [2, IMAGE, 6]] = -torch.inf
            assert torch.equal(scores.argmax(-1), cached[:, start + step + 1])


def gradients(model: PreTrainedModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, :6] = -100
    model.zero_grad(set_to_none=True)
    model.train()
    model(**inputs, labels=labels).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_checkpointing_gives_the_same_gradients_and_all_of_the_injection_has_some(kind: str) -> None:
    model, inputs = adapted(kind, amp={"norm": True}), batch(kind, (1, 2, 0))
    expected = gradients(model, inputs)
    model.activation_checkpointing_enable({"use_reentrant": False})
    found = gradients(model, inputs)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], grad) for name, grad in expected.items())
    new = {name for name, _ in model.named_parameters() if part_of(name) in ("amp", "agf")}
    assert len(new) == 9
    assert [name for name in new if name not in found or not found[name].any()] == []


def test_a_text_only_batch_touches_what_one_with_images_does(kind: str) -> None:
    model = adapted(kind)
    with_images = gradients(model, batch(kind, (1, 1)))
    inputs = batch(kind, (0, 0))
    text = gradients(model, inputs)
    assert text.keys() == with_images.keys()
    assert not any(grad.any() for name, grad in text.items() if part_of(name) != "llm")
    trained = model(**inputs).logits
    assert torch.equal(trained, logits(model.eval(), inputs))


def test_a_saved_model_is_loaded_by_the_auto_class(kind: str, model: PreTrainedModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is type(model)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    inputs = batch(kind, (1, 2))
    assert torch.equal(logits(loaded, inputs), logits(model, inputs))


def test_a_plain_checkpoint_lacks_exactly_the_injection(kind: str, plain: PreTrainedModel, tmp_path: Path) -> None:
    plain.save_pretrained(tmp_path)
    section = injection(decoder_layers=[0, 1, 3]).model_dump(mode="json")
    model, report = cli_classes()[type(plain)].from_pretrained(tmp_path, cli=section, output_loading_info=True)
    new = {name for name, _ in model.named_parameters() if part_of(name) in ("amp", "agf")}
    assert set(report["missing_keys"]) == new
    assert not report["unexpected_keys"]
    inputs = batch(kind, (2, 1))
    assert torch.equal(logits(model, inputs), logits(plain, inputs))
    back = type(plain).from_pretrained(_saved(model, tmp_path / "cli"))
    assert torch.equal(logits(back, inputs), logits(plain, inputs))


def _saved(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kind": "external"}, "injection.kind = 'external'"), ({"amp": {"projector": "full"}}, "amp.projector = 'full'")],
)
def test_what_a_projector_cannot_have_is_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} needs a projector of two layers .* which a {kind} does not have"):
        adapted(kind, **changes)


def test_packed_rows_equal_samples_alone_or_are_refused(kind: str, model: PreTrainedModel) -> None:
    inputs = batch(kind, (1, 2))
    rows = [ids[mask.bool()] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    packed = {
        "input_ids": torch.cat(rows)[None],
        "segment_ids": torch.cat([torch.full_like(row, i) for i, row in enumerate(rows)])[None],
        "turn_ids": torch.cat([torch.zeros_like(row) for row in rows])[None],
    }
    pixels = inputs["pixel_values"]
    packed["pixel_values"] = pixels.flatten(0, 1)[None] if pixels.ndim == 5 else pixels
    if not model.model.packs_rows:
        with pytest.raises(ValueError, match="takes no packed rows"):
            model(**packed)
        return
    alone = logits(model, inputs)[inputs["attention_mask"].bool()]
    assert torch.allclose(logits(model, packed)[0], alone, atol=2e-4)
