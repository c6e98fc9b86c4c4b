"""Packs train what micro-batches train: the same losses, gradients, norms and weights, to rounding."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.packed import Kept, difference, keep_steps
from tests.train.ranks import on_ranks
from tests.train.resizing import traces
from tests.train.scenario import Case

STEPS = 3
ONE = Case(opened=True, micro_batch=2, max_length=96, zero_stage=0)
"""A pack holds two samples with an image, or four without."""
KINDS = {
    "llava": ONE,
    "onevision": replace(ONE, family="llava_onevision", max_length=192),
    "lora": replace(ONE, lora=True),
    "checkpointing": replace(ONE, checkpointing=True),
    "holes": replace(ONE, bad=(0, 5, 6)),
    "rank without samples": replace(ONE, bad=(4, 5, 6, 7)),
}
"""In step 1 the second half of the samples, which is rank 1's share of two, has no images."""
STAGES = {kind: (0, 1, 2, 3) if kind == "llava" else (2,) for kind in KINDS} | {"checkpointing": (3,)}
PACKED = {
    f"{kind}, zero {stage}": replace(KINDS[kind], packing=True, zero_stage=stage)
    for kind, stages in STAGES.items()
    for stage in stages
}
ALONE = {name: case for name, case in PACKED.items() if "llava" in name}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Kept]:
    """What micro-batches give on one rank, and packs on one and two, by name and number of ranks."""
    found: dict[tuple[str, int], Kept] = {}
    for ranks, cases in ((1, KINDS | ALONE), (2, PACKED)):
        folder = tmp_path_factory.mktemp("steps")
        on_ranks(ranks, keep_steps, cases, str(folder), STEPS)
        found |= {(name, ranks): torch.load(Path(folder, f"{name}.pt")) for name in cases}
    return found


@pytest.mark.parametrize(("name", "ranks"), [(name, 1) for name in ALONE] + [(name, 2) for name in PACKED])
def test_packs_train_what_micro_batches_train(kept: dict[tuple[str, int], Kept], name: str, ranks: int) -> None:
    packed, plain = kept[name, ranks], kept[name.split(", zero")[0], 1]
    assert packed["ids"] == plain["ids"]
    assert packed["losses"][0] == pytest.approx(plain["losses"][0], rel=1e-6)
    assert packed["norms"][0] == pytest.approx(plain["norms"][0], rel=1e-6)
    whole, worst = difference(packed["gradients"], plain["gradients"])
    assert whole < 1e-6
    assert worst < 1e-5
    assert packed["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    assert packed["norms"] == pytest.approx(plain["norms"], rel=1e-4)
    assert difference(packed["weights"], plain["weights"])[0] < 1e-5


@pytest.mark.slow
def test_a_packed_run_that_goes_on_has_the_same_losses_to_the_bit(tmp_path: Path) -> None:
    cases = {"run": replace(ONE, packing=True, zero_stage=2, lora=True, dropout=0.3)}
    whole = traces(cases, (2,), tmp_path / "whole")["run"].losses
    assert traces(cases, (2, 2), tmp_path / "cut")["run"].losses == whole
