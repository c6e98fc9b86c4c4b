"""Resampling: how far a number would move if other items had been drawn for the benchmark."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from cli_ray.evals.benchmark import Sample
from cli_ray.evals.results.clusters import Labels

SEED = 0
"""Equal samples give equal intervals."""

Headline = Callable[[Sequence[Sample]], float | None]
"""The number of a set of samples; None where these do not define it."""


def draws(samples: int) -> int:
    """Resamples of a set of that size: 1000, fewer of large sets, whose cost is that of the aggregation."""
    return min(1000, max(300, 1_500_000 // max(1, samples)))


class Resampler:
    """Samples in blocks that are drawn whole, with replacement."""

    def __init__(self, samples: Sequence[Sample], labels: Labels) -> None:
        self._copies: list[list[list[Sample]]] = [[[]] for _ in range(int(labels.max(initial=-1)) + 1)]
        for sample, label in zip(samples, labels.tolist(), strict=True):
            self._copies[label][0].append(sample)

    def drawn(self, times: NDArray[np.int64]) -> list[Sample]:
        """Each block as often as `times[block]` says.

        Copies get ids and units of their own, so that an aggregation by units does not take two for one.
        """
        samples: list[Sample] = []
        for copies, wanted in zip(self._copies, times.tolist(), strict=True):
            while len(copies) < wanted:
                copies.append([_renamed(sample, len(copies)) for sample in copies[0]])
            for copy in copies[:wanted]:
                samples += copy
        return samples


def _renamed(sample: Sample, copy: int) -> Sample:
    mark = f" (copy {copy})"
    return replace(sample, id=sample.id + mark, unit=(sample.unit or sample.id) + mark)


def resampled(headline: Headline, sides: Sequence[Sequence[Sample]], labels: Labels) -> NDArray[np.float64]:
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
