"""Packs train what micro-batches train: the same losses, gradients, norms and weights, to rounding."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import torch

from cli_ray.errors import UserError
from cli_ray.train import model_check
from tests.train.packed import Kept, difference, keep_steps
from tests.train.ranks import on_ranks
from tests.train.resizing import traces
from tests.train.scenario import Case, config_of

STEPS = 3
PLAIN = Case(opened=True, micro_batch=2, max_length=96, zero_stage=0)
"""A pack holds two samples with an image, or four without."""
KINDS = {
    "llava": PLAIN,
    "onevision": replace(PLAIN, family="llava_onevision", max_length=192),
    "lora": replace(PLAIN, lora=True),
    "checkpointing": replace(PLAIN, checkpointing=True),
    "holes": replace(PLAIN, bad=(0, 5, 6)),
    "rank without samples": replace(PLAIN, bad=(4, 5, 6, 7)),
}
"""In step 1 the second half of the samples, which is rank 1's share of two, has no images."""
FAST = [("llava", 3), ("onevision", 2), ("rank without samples", 2)]
SLOW = [("llava", 0), ("llava", 1), ("llava", 2), ("lora", 2), ("checkpointing", 3), ("holes", 2)]
"""Kind and ZeRO stage."""


@cache
def plain(kinds: tuple[str, ...]) -> dict[str, Kept]:
    """What micro-batches give on one rank without ZeRO."""
    return _kept(1, {kind: KINDS[kind] for kind in kinds})


@cache
def packed(ranks: int, cases: tuple[tuple[str, int], ...]) -> dict[tuple[str, int], Kept]:
    """What packs give."""
    named = {str(case): replace(KINDS[case[0]], packing=True, zero_stage=case[1]) for case in cases}
    return dict(zip(cases, _kept(ranks, named).values(), strict=True))


def _kept(ranks: int, cases: dict[str, Case]) -> dict[str, Kept]:
    with TemporaryDirectory() as folder:
        on_ranks(ranks, keep_steps, cases, folder, STEPS)
        return {name: torch.load(Path(folder, f"{name}.pt")) for name in cases}


def compare(case: tuple[str, int], ranks: int, cases: Sequence[tuple[str, int]]) -> None:
    """Of several cases, which are trained together, the packs of one with its micro-batches."""
    found = packed(ranks, tuple(cases))[case]
    expected = plain(tuple(dict.fromkeys(kind for kind, _ in cases)))[case[0]]
    assert found["ids"] == expected["ids"]
    assert found["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-6)
    assert found["norms"][0] == pytest.approx(expected["norms"][0], rel=1e-6)
    whole, worst = difference(found["gradients"], expected["gradients"])
    assert whole < 1e-6
    assert worst < 1e-5
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    assert difference(found["weights"], expected["weights"])[0] < 1e-5


@pytest.mark.parametrize("case", FAST, ids=str)
def test_packs_of_two_ranks_train_what_micro_batches_of_one_train(case: tuple[str, int]) -> None:
    compare(case, 2, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=str)
@pytest.mark.parametrize("ranks", [1, 2])
def test_packs_train_what_micro_batches_train(case: tuple[str, int], ranks: int) -> None:
    compare(case, ranks, SLOW)


@pytest.mark.slow
def test_a_packed_run_that_goes_on_has_the_same_losses_to_the_bit(tmp_path: Path) -> None:
    cases = {"run": replace(PLAIN, packing=True, zero_stage=2, lora=True, dropout=0.3)}
    whole = traces(cases, (2,), tmp_path / "whole")["run"].losses
    assert traces(cases, (2, 2), tmp_path / "cut")["run"].losses == whole


def test_layers_that_cannot_see_a_whole_sample_of_a_pack_are_refused_by_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = SimpleNamespace(max_position_embeddings=4096, sliding_window=64)
    monkeypatch.setattr(model_check, "resolve_injection", lambda *_: (SimpleNamespace(text_config=text), None))
    with pytest.raises(UserError, match=r"see 64 tokens, .* data\.max_length = 96: .* set train\.packing = false"):
        model_check.check_model(config_of(replace(PLAIN, packing=True)))
    model_check.check_model(config_of(PLAIN))
