"""The statistics behind the tables: which items stand or fall together, standard errors, intervals, and tests.

`aggregate` takes the standard error of a row from here, `paired` the interval and the test of two models. Items of one
cluster or unit are a block; blocks are resampled and swapped whole, as their errors are not independent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from cli_ray.evals.benchmark import ScoredItem

Labels = NDArray[np.int64]
"""The block of each sample, numbered from 0 in the order of their first samples."""
Headline = Callable[[Sequence[ScoredItem]], float | None]
"""The number of a set of samples; None where these do not define it."""
Swapped = NDArray[np.bool_]
"""Whether the two models change places, for each block that differs."""

SEED = 0
"""Equal samples give equal intervals."""
SWAPS = 10_000
TIE = 1e-6
"""Share of the largest difference of a block below which two statistics are equal but for rounding."""
EXTREME = 100
"""Random swaps as extreme as the observed difference after which a costly test may stop."""


def blocks(samples: Sequence[ScoredItem]) -> Labels:
    """The finest parts of the samples that tear neither a cluster nor a unit: a unit that lies in several clusters
    joins them."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        above = parent.setdefault(node, node)
        while above != node:
            parent[node] = parent[above]
            node, above = above, parent[above]
        return node

    for sample in samples:
        unit = "unit", sample.unit or sample.id
        parent[root(unit)] = root(("cluster", sample.cluster) if sample.cluster else unit)
    numbers: dict[tuple[str, str], int] = {}
    labels = (numbers.setdefault(root(("unit", sample.unit or sample.id)), len(numbers)) for sample in samples)
    return np.fromiter(labels, np.int64, len(samples))


def scores(samples: Sequence[ScoredItem]) -> NDArray[np.float64]:
    """The scores of samples that all have one."""
    return np.fromiter((sample.score or 0.0 for sample in samples), np.float64, len(samples))


def clustered_error(values: NDArray[np.float64], labels: Labels) -> float | None:
    """The standard error of the mean of values whose errors are independent between blocks only.

    With n values in G blocks: sqrt(G / (G - 1) * sum over blocks of (sum over the block of (value - mean))^2) / n;
    G / (G - 1) is the factor for few blocks. As `stderr(cluster=...)` of inspect_ai; Miller, "Adding error bars to
    evals", arXiv 2411.00640. Where each value is a block of its own it is the standard deviation (with n - 1) over
    sqrt(n). None for fewer than two blocks, which say nothing of the spread between blocks.
    """
    sums = np.bincount(labels, values - values.mean()) if len(values) else np.zeros(0)
    if len(sums) < 2:
        return None
    return sqrt(len(sums) / (len(sums) - 1) * float(np.square(sums).sum())) / len(values)


def draws(samples: int) -> int:
    """Resamples of a set of that size: 1000, fewer of large sets, whose cost is that of the aggregation."""
    return min(1000, max(300, 1_500_000 // max(1, samples)))


class Resampler:
    """Samples in blocks that are drawn whole, with replacement."""

    def __init__(self, samples: Sequence[ScoredItem], labels: Labels) -> None:
        self._copies: list[list[list[ScoredItem]]] = [[[]] for _ in range(int(labels.max(initial=-1)) + 1)]
        for sample, label in zip(samples, labels.tolist(), strict=True):
            self._copies[label][0].append(sample)

    def drawn(self, times: NDArray[np.int64]) -> list[ScoredItem]:
        """Each block as often as `times[block]` says.

        Copies get ids and units of their own, so that an aggregation by units does not take two for one.
        """
        samples: list[ScoredItem] = []
        for copies, wanted in zip(self._copies, times.tolist(), strict=True):
            while len(copies) < wanted:
                copies.append([_renamed(sample, len(copies)) for sample in copies[0]])
            for copy in copies[:wanted]:
                samples += copy
        return samples


def resampled(headline: Headline, sides: Sequence[Sequence[ScoredItem]], labels: Labels) -> NDArray[np.float64]:
    """The headline of resamples of one or more sides that have the same items in the same order.

    Every side gets the same draw. Draws for which the headline of a side is not defined are left out.

    Args:
        labels: the block of each item.

    Returns:
        Shape (draws, sides).
    """
    rng = np.random.default_rng(SEED)
    resamplers = [Resampler(side, labels) for side in sides]
    size = int(labels.max(initial=-1)) + 1
    rows = []
    for _ in range(draws(len(labels))):
        times = np.bincount(rng.integers(size, size=size), minlength=size)
        values = [headline(resampler.drawn(times)) for resampler in resamplers]
        if all(value is not None and isfinite(value) for value in values):
            rows.append(values)
    return np.array(rows, np.float64).reshape(len(rows), len(sides))


def resampled_mean(values: NDArray[np.float64], labels: Labels, times: int = 2000) -> NDArray[np.float64]:
    """The mean of `times` resamples by blocks.

    Blocks of equal sum and size are interchangeable, so it is drawn how often each kind of block occurs: a few
    hundred kinds instead of the 40,000 images of VQAv2.
    """
    rng = np.random.default_rng(SEED)
    sums, sizes = np.bincount(labels, values).round(9), np.bincount(labels)
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    means = np.empty(times)
    step = max(1, 4_000_000 // len(counts))
    for start in range(0, times, step):
        drawn = rng.multinomial(len(sums), counts / len(sums), size=min(step, times - start))
        means[start : start + step] = (drawn @ kinds[0]) / (drawn @ kinds[1])
    return means


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 percent of resampled values."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


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
    test is that of `swap_sums`. That takes a tenth of the time (MMBench) and its p goes down to 1e-4; after
    Holm's correction for a suite the 1e-3 of fewer swaps would say little. Other headlines (F1) are computed again for
    each random swap; these end early once enough were as extreme as what was observed (Besag and Clifford 1991,
    Biometrika 78:301), which is soon where p is large.

    Args:
        difference: of the headlines after a swap; None where that is not defined.
        differing: blocks in which the two models differ.
        most: random swaps at most.
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


def holm(ps: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the order given: the chance that any difference of the
    suite is called real by mistake stays below the level at which they are read."""
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = largest
    return corrected


def _renamed(sample: ScoredItem, copy: int) -> ScoredItem:
    mark = f" (copy {copy})"
    return replace(sample, id=sample.id + mark, unit=(sample.unit or sample.id) + mark)


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
