"""The order of the stream: arithmetic on sample counts, a pure function of (seed, epoch, step).

An epoch is a seeded permutation of units (neighbouring samples that are read together), laid end to end
and cut by samples into equal parts, one per lane. A lane is cut into windows. Lanes have the same length give
or take one sample, so they walk through their windows side by side, end together, and an optimiser step takes
the same number of samples from each. Nothing here knows how many workers there are; MosaicML Streaming calls
a lane a canonical node.

`steps` shares the windows among the steps. `stream` reads by it, `verify` checks the ledger by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples `low <= i < high` of a unit."""

    unit: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Order:
    """Which samples stand where.

    Args:
        counts: samples of each unit.
        sources: source of each unit.
        weights: how often each source's samples come in an epoch.
        seed: of every permutation.
        lanes: parallel lanes.
        window: samples of a window, a multiple of micro_batch.
        micro_batch: samples of a micro-batch.
        per_step: micro-batches that an optimiser step takes of each lane.
    """

    counts: Ints
    sources: Ints
    weights: Sequence[float]
    seed: int
    lanes: int
    window: int
    micro_batch: int
    per_step: int

    @cached_property
    def samples_per_epoch(self) -> int:
        """Samples of an epoch, repetitions by weight included."""
        return sum(int(weight) * self._total(s) + self._part(s) for s, weight in enumerate(self.weights))

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch, the same for every epoch. The last one may be smaller."""
        longest = math.ceil(self.samples_per_epoch / self.lanes)
        return math.ceil(math.ceil(longest / self.micro_batch) / self.per_step)

    @property
    def per_lane(self) -> int:
        """Samples that an optimiser step takes of each lane."""
        return self.per_step * self.micro_batch

    def windows_before(self, step: int) -> int:
        """Windows of a lane whose samples are all taken before a step."""
        return step * self.per_lane // self.window

    def windows_until(self, step: int) -> int:
        """Windows of a lane that a step and those before it take samples of."""
        return min(math.ceil((step + 1) * self.per_lane / self.window), self.windows())

    def lane_length(self, lane: int) -> int:
        """Samples of a lane in an epoch."""
        return self._lane_start(lane + 1) - self._lane_start(lane)

    def windows(self) -> int:
        """Windows of the longest lane."""
        return math.ceil(math.ceil(self.samples_per_epoch / self.lanes) / self.window)

    def window_length(self, lane: int, window: int) -> int:
        """Samples of a window; 0 past the end of the lane."""
        return min(max(self.lane_length(lane) - window * self.window, 0), self.window)

    def pieces(self, epoch: int, lane: int, window: int) -> list[Piece]:
        """The pieces of units that make a window, in order."""
        start = self._lane_start(lane) + window * self.window
        columns = self._cut(epoch, start, start + self.window_length(lane, window))
        return [Piece(*map(int, piece)) for piece in zip(*columns, strict=True)]

    def lead(self, epoch: int, lane: int, windows: int) -> tuple[Ints, Ints, Ints]:
        """Unit, low and high of the pieces that make a lane's first windows, all when there are not so many."""
        start = self._lane_start(lane)
        return self._cut(epoch, start, start + min(windows * self.window, self.lane_length(lane)))

    def shuffle(self, count: int, epoch: int, lane: int, window: int, stage: int) -> Ints:
        """A permutation of `count` things within a window; `stage` tells several of them apart."""
        return permutation(count, self.seed, 1, epoch, lane, window, stage)

    def _lane_start(self, lane: int) -> int:
        return lane * self.samples_per_epoch // self.lanes

    def _total(self, source: int) -> int:
        return int(self.counts[self.sources == source].sum())

    def _part(self, source: int) -> int:
        """Samples that the fractional part of a source's weight adds to each epoch."""
        return round((self.weights[source] % 1) * self._total(source))

    def _cut(self, epoch: int, start: int, stop: int) -> tuple[Ints, Ints, Ints]:
        """Unit, low and high of the pieces between two positions of the epoch."""
        units, lows, highs, ends = self._epoch(epoch)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right") if stop > start else (0, -1)
        units, lows, highs, ends = (column[first : last + 1] for column in (units, lows, highs, ends))
        begins = ends - (highs - lows)
        return units, lows + np.maximum(start - begins, 0), highs - np.maximum(ends - stop, 0)

    def _epoch(self, epoch: int) -> tuple[Ints, Ints, Ints, Ints]:
        return _epoch(self, epoch)

    def _fraction(self, source: int, epoch: int) -> tuple[Ints, Ints, Ints]:
        """Pieces of the fractional part: each epoch goes on where the last one stopped in a seeded cycle."""
        part, total = self._part(source), self._total(source)
        mine = np.flatnonzero(self.sources == source)
        cycle = mine[permutation(len(mine), self.seed, 2, source)]
        ends = np.cumsum(self.counts[cycle])
        begins = ends - self.counts[cycle]
        start = epoch * part % max(total, 1)
        pieces = []
        for low, high in ((start, min(start + part, total)), (0, max(start + part - total, 0))):
            hit = np.flatnonzero((ends > low) & (begins < high))
            lows = np.maximum(low - begins[hit], 0)
            pieces.append((cycle[hit], lows, np.minimum(high, ends[hit]) - begins[hit]))
        units, lows, highs = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        return units, lows, highs


@lru_cache(maxsize=4)
def _epoch(order: Order, epoch: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Unit, low, high and end position of every piece of an epoch, in order."""
    parts = []
    for source, weight in enumerate(order.weights):
        mine = np.flatnonzero(order.sources == source)
        whole = np.tile(mine, int(weight))
        parts.append((whole, np.zeros_like(whole), order.counts[whole]))
        if order._part(source):
            parts.append(order._fraction(source, epoch))
    units, lows, highs = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    shuffled = permutation(len(units), order.seed, 0, epoch)
    units, lows, highs = units[shuffled], lows[shuffled], highs[shuffled]
    return units, lows, highs, np.cumsum(highs - lows)


def permutation(count: int, *key: int) -> Ints:
    """A permutation of 0..count-1 that depends on `key` alone.

    NumPy keeps the raw streams of its bit generators for ever but not what `Generator` makes of them,
    so this sorts raw numbers: a run resumed under another NumPy keeps its order.
    """
    raw = np.random.Philox(np.random.SeedSequence(key)).random_raw(count)
    return np.argsort(raw, kind="stable")
