"""Curves over the steps of a run, thinned while metrics.jsonl is read, so that a long run takes no more memory than a
short one. `run` and `several` read them, `figures` draws them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

MOST_BUCKETS = 250
"""Of a curve: each has its least and its largest value, so that 500 points keep every peak."""
SMOOTHING = 0.02
"""Of all steps, those on either side that a smoothed value is a mean of."""

DRAWN = (
    "loss", "validation_loss", "grad_norm", "lr/", "tokens/s", "mfu", "padding_share", "peak_GiB", "eval/",
    "compute_ms/median", "rank_wait_ms/median", "data_wait_ms/max",
)  # fmt: skip
"""Beginnings of the names of metrics that a report shows: a line has a hundred others."""


@dataclass
class Bucket:
    """Neighbouring steps of a curve."""

    step: int
    """The last one."""
    low: float
    high: float
    total: float
    count: int

    def join(self, other: "Bucket") -> None:
        """Takes in the bucket that follows."""
        self.step = other.step
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.total, self.count = self.total + other.total, self.count + other.count

    @property
    def mean(self) -> float:
        """Of its values."""
        return self.total / self.count


@dataclass
class Trend:
    """A metric over the steps."""

    buckets: list[Bucket] = field(default_factory=list)
    _size: int = 1
    """Values that a bucket takes."""

    def add(self, step: int, value: float) -> None:
        """Adds the value of a later step."""
        last = self.buckets[-1] if self.buckets else None
        value_alone = Bucket(step, value, value, value, 1)
        if last is not None and last.count < self._size:
            last.join(value_alone)
            return
        if len(self.buckets) == MOST_BUCKETS:
            self._halve()
        self.buckets.append(value_alone)

    def _halve(self) -> None:
        firsts, seconds = self.buckets[::2], self.buckets[1::2]
        for first, second in zip(firsts, seconds, strict=False):
            first.join(second)
        self.buckets, self._size = firsts, 2 * self._size

    @property
    def steps(self) -> list[int]:
        """The last step of each bucket."""
        return [bucket.step for bucket in self.buckets]

    @property
    def first(self) -> float:
        """The mean of the first bucket."""
        return self.buckets[0].mean

    @property
    def last(self) -> float:
        """The mean of the last bucket."""
        return self.buckets[-1].mean

    def smoothed(self) -> list[float]:
        """Means over the neighbours on both sides, as many on each, so that a straight line stays where it is."""
        means = [bucket.mean for bucket in self.buckets]
        reach, last = round(SMOOTHING * len(means)), len(means) - 1
        spans = [min(reach, place, last - place) for place in range(len(means))]
        return [fmean(means[place - span : place + span + 1]) for place, span in enumerate(spans)]


def read_trends(rows: Iterable[dict[str, Any]]) -> dict[str, Trend]:
    """By name, the curve of each metric that reports draw, where it is a finite number.

    Args:
        rows: lines of metrics.jsonl..
    """
    trends: dict[str, Trend] = {}
    for row in rows:
        step = row.get("step")
        if not isinstance(step, int):
            continue
        for name, value in row.items():
            if not name.startswith(DRAWN):
                continue
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                trends.setdefault(name, Trend()).add(step, float(value))
    return trends
