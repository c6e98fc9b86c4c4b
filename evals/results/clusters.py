"""Which samples stand or fall together, and the standard error of a mean over them."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from cli_ray.evals.benchmark import Sample

Labels = NDArray[np.int64]
"""The block of each sample, numbered from 0 in the order of their first samples."""


def blocks(samples: Sequence[Sample]) -> Labels:
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
    found = (numbers.setdefault(root(("unit", sample.unit or sample.id)), len(numbers)) for sample in samples)
    return np.fromiter(found, np.int64, len(samples))


def scores(samples: Sequence[Sample]) -> NDArray[np.float64]:
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
