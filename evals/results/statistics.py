"""Whether two models differ by more than chance: exact and permutation tests on pairs, and Holm's correction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cli_ray.evals.results.bootstrap import SEED

SWAPS = 10_000
TIE = 1e-6
"""Share of the largest difference of a block below which two statistics are equal but for rounding."""
EXTREME = 100
"""Random swaps as extreme as the observed difference after which a costly test may stop."""

Swapped = NDArray[np.bool_]
"""Whether the two models change places, for each block that differs."""


@dataclass(frozen=True, slots=True)
class Significance:
    """The outcome of a two-sided test."""

    p: float
    method: str
    """For the table."""


def mcnemar(wins: int, losses: int) -> Significance:
    """The exact test of McNemar: with no difference, each pair that is right on one side only falls to either
    side with probability 1/2."""
    pairs, fewer = wins + losses, min(wins, losses)
    term = tail = 1
    for k in range(fewer):
        term = term * (pairs - k) // (k + 1)
        tail += term
    return Significance(min(1.0, 2 * tail / 2**pairs), "McNemar, exact")


def swap_sums(sums: NDArray[np.float64]) -> Significance:
    """Swaps the two models in random blocks; the statistic is the sum of differences.

    All swaps are gone through where few blocks differ. Otherwise blocks whose differences are equally large are
    interchangeable: it is drawn how many of them keep their sign.

    Args:
        sums: the difference of each block, summed over its items.
    """
    scaled = (sums / max(1e-9, float(np.abs(sums).max(initial=0.0)))).round(9)
    sizes, least = np.abs(scaled[scaled != 0]), abs(float(scaled.sum())) - TIE
    if 2 ** len(sizes) <= SWAPS:
        extreme = np.abs((1 - 2 * _every(len(sizes))) @ sizes) >= least
        return Significance(float(extreme.mean()), "permutation, exact")
    rng = np.random.default_rng(SEED)
    kinds, counts = np.unique(sizes, return_counts=True)
    extreme_swaps, step = 0, max(1, 4_000_000 // len(kinds))
    for start in range(0, SWAPS, step):
        kept = rng.binomial(counts, 0.5, size=(min(step, SWAPS - start), len(kinds)))
        extreme_swaps += int((np.abs((2 * kept - counts) @ kinds) >= least).sum())
    return Significance((1 + extreme_swaps) / (1 + SWAPS), f"permutation, {SWAPS:,} swaps")


def swap_headlines(difference: Callable[[Swapped], float | None], differing: int, most: int) -> Significance:
    """Swaps the two models in random blocks; the statistic is the difference of headlines, however they are made.

    Most headlines are sums over blocks as long as the items stay the same: each block is then swapped once, and the
    test is that of `swap_sums`. For the others (F1) all is computed anew for each random swap; these end early once
    enough of them were as extreme as what was observed (Besag and Clifford 1991, Biometrika 78:301), which is soon
    where p is large.

    Args:
        difference: of the headlines after a swap; None where that is not defined.
        differing: blocks in which the two models differ.
        most: swaps at most for which all is computed anew.
    """
    observed = difference(np.zeros(differing, np.bool_))
    if observed is not None and _is_additive(difference, differing):
        alone = [difference(swapped) for swapped in np.eye(differing, dtype=np.bool_)]
        return swap_sums((observed - np.array(alone, np.float64)) / 2)
    least = abs(observed or 0.0) * (1 - TIE)

    def is_extreme(swapped: Swapped) -> bool:
        value = difference(swapped)
        return value is None or abs(value) >= least

    if 2**differing <= most:
        return Significance(
            float(np.mean([is_extreme(swapped) for swapped in _every(differing)])), "permutation, exact"
        )
    rng = np.random.default_rng(SEED)
    extreme = 0
    for swap in range(1, most + 1):
        extreme += is_extreme(rng.random(differing) < 0.5)
        if extreme == EXTREME:
            return Significance(extreme / swap, f"permutation, {swap:,} swaps")
    return Significance((1 + extreme) / (1 + most), f"permutation, {most:,} swaps")


def _is_additive(difference: Callable[[Swapped], float | None], differing: int) -> bool:
    """Whether swapping two sets of blocks changes the difference by as much as swapping each does; tried on a few
    random sets."""
    rng = np.random.default_rng(SEED)
    none = difference(np.zeros(differing, np.bool_))
    for _ in range(5):
        part = rng.integers(3, size=differing)
        values = [none, *(difference(swapped) for swapped in (part == 1, part == 2, part > 0))]
        known = [value for value in values if value is not None]
        if len(known) < 4 or abs(known[3] - known[1] - known[2] + known[0]) > TIE:
            return False
    return True


def _every(differing: int) -> NDArray[np.bool_]:
    """All swaps; shape (2^differing, differing)."""
    bits = np.arange(2**differing)[:, None] >> np.arange(differing)
    return (bits % 2).astype(np.bool_)


def holm(ps: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the order given: the chance that any difference of the
    suite is called real by mistake stays below the level at which they are read."""
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = largest
    return corrected
