"""Packs train what micro-batches train: the same losses, gradients, norms and weights, to rounding."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.packed import Kept, difference, keep_steps
from tests.train.ranks import on_ranks
from tests.train.scenario import Case

STEPS = 3
LENGTH = 96
"""Tokens of a pack: two samples with an image, or four without."""
KINDS = {
    "llava": Case(opened=True, micro_batch=2, max_length=LENGTH),
    "onevision": Case(opened=True, micro_batch=2, max_length=2 * LENGTH, family="llava_onevision"),
    "lora": Case(opened=True, micro_batch=2, max_length=LENGTH, lora=True),
    "checkpointing": Case(opened=True, micro_batch=2, max_length=LENGTH, checkpointing=True),
    "holes": Case(opened=True, micro_batch=2, max_length=LENGTH, bad=(0, 5, 6)),
    "a rank of holes": Case(opened=True, micro_batch=2, max_length=LENGTH, bad=(4, 5, 6, 7)),
}
"""In steps 1 and 3 the second half of the samples, which is rank 1's share of two, has no images."""
PACKED = {
    f"{kind}, zero {stage}": replace(KINDS[kind], packing=True, zero_stage=stage)
    for kind in KINDS
    for stage in (0, 1, 2, 3)
    if kind == "llava" or stage in (2, 3)
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Kept]]]:
    """What each case gives: micro-batches on one rank, packs on one rank and on two."""
    runs = {"micro-batches": (1, {name: replace(case, zero_stage=0) for name, case in KINDS.items()})}
    runs |= {f"packs on {ranks}": (ranks, PACKED) for ranks in (1, 2)}
    found = {}
    for name, (ranks, cases) in runs.items():
        folder = tmp_path_factory.mktemp("steps")
        on_ranks(ranks, keep_steps, cases, str(folder), STEPS)
        found[name] = {case: torch.load(Path(folder, f"{case}.pt")) for case in cases}
    yield found


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", PACKED)
def test_packs_train_what_micro_batches_train(kept: dict[str, dict[str, Kept]], name: str, ranks: int) -> None:
    packed, plain = kept[f"packs on {ranks}"][name], kept["micro-batches"][name.split(",")[0]]
    print(
        name,
        ranks,
        [a / b - 1 for a, b in zip(packed["losses"], plain["losses"])],
        [a / b - 1 for a, b in zip(packed["norms"], plain["norms"])],
        difference(packed["gradients"], plain["gradients"]),
        difference(packed["weights"], plain["weights"]),
    )
    assert packed["losses"][0] == pytest.approx(plain["losses"][0], rel=1e-6)
    assert difference(packed["gradients"], plain["gradients"]) < 1e-6
    assert packed["norms"][0] == pytest.approx(plain["norms"][0], rel=1e-6)
    assert packed["losses"] == pytest.approx(plain["losses"], rel=2e-5)
    assert difference(packed["weights"], plain["weights"]) < 1e-4
