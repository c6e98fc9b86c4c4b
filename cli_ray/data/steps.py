"""From the rows of a window to the steps and micro-batches that take them, lane by lane: the two orders there are.

`Levelled` is that of new runs. A run keeps the order that it was started with, and those of earlier versions were
started with `Grouped`: the costs in the state of the stream tell which. `stream` reads by it, `verify` checks by it.

A step takes `Order.per_lane` samples of each lane: of the samples of a lane from first to last, step s takes as many
as stand at places s x per_lane to (s + 1) x per_lane, which are those of one window or, where a step does not end
with a window, of several. Which samples of a window a step takes, and not how many, is decided here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cli_ray.data.cost import SampleCost
from cli_ray.data.levelling import excess, level
from cli_ray.data.order import Ints, Order
from cli_ray.data.sample import Encoded, Row

Rows = list[Row]
Dealt = dict[int, list[Rows]]
"""By the number of a step in its epoch, what it takes of a lane, in lists that `Steps.micro_batches` makes use of."""

_UNEVEN = 20
"""Groups of samples are made smaller where with them a step would cost a 20th more than its share."""


class Steps(ABC):
    """How the steps of an order share the samples of a window."""

    def __init__(self, order: Order) -> None:
        self.order = order

    @abstractmethod
    def sizes(self, epoch: int) -> Ints:
        """Samples of each step of an epoch over all lanes, quarantined ones included."""

    @abstractmethod
    def deal(self, rows: Sequence[Row], epoch: int, lane: int, window: int) -> Dealt:
        """Deals the rows of a window to steps."""

    @abstractmethod
    def micro_batches(self, dealt: list[Rows]) -> list[Rows]:
        """The micro-batches of one lane in one step.

        Args:
            dealt: all that `deal` gave the step, window by window.
        """

    def _ranked(self, rows: Sequence[Row], epoch: int, lane: int, window: int) -> Rows:
        """Rows with images, then those without, by length; equal ones shuffled; holes last."""
        shuffled = self.order.shuffle(len(rows), epoch, lane, window, stage=0)
        return sorted((rows[i] for i in shuffled), key=_kind_and_length)


class Levelled(Steps):
    """Steps of one cost, so that ranks which meet after each of them do not wait for one another.

    The samples of a window are grouped by length, so that little is padded, and the groups are dealt so that steps
    cost the same; where a few long samples keep them from it, groups are smaller. Which step gets which share is
    shuffled for each lane by itself, else one step would have the longest samples of all lanes. Inside a step every
    lane begins with its costliest micro-batch, for ranks may meet after each of these too.
    """

    def __init__(self, order: Order, cost: SampleCost) -> None:
        super().__init__(order)
        self.cost = cost
        # With fewer than four groups to a step there would be little to choose from. What divides the micro-batch
        # divides steps and windows.
        largest = math.gcd(order.micro_batch, max(1, order.per_lane // 4))
        self._group_sizes = [size for size in range(largest, 0, -1) if largest % size == 0]

    def sizes(self, epoch: int) -> Ints:
        """See `Steps`."""
        order = self.order
        begins, sizes = np.arange(order.steps_per_epoch) * order.per_lane, np.zeros(order.steps_per_epoch, np.int64)
        for lane in range(order.lanes):
            sizes += np.clip(order.lane_length(lane) - begins, 0, order.per_lane)
        return sizes

    def deal(self, rows: Sequence[Row], epoch: int, lane: int, window: int) -> Dealt:
        """See `Steps`."""
        if not rows:
            return {}
        order, ranked = self.order, self._ranked(rows, epoch, lane, window)
        begin, end = window * order.window, window * order.window + len(rows)
        steps = range(begin // order.per_lane, math.ceil(end / order.per_lane))
        bounds = [min(max(step * order.per_lane, begin), end) for step in (*steps, steps.stop)]
        ranks = order.shuffle(len(steps), epoch, lane, window, stage=1).tolist()
        costs = list(map(self.cost, ranked))
        for size in self._group_sizes:
            rooms = [(high - low) // size for low, high in pairwise(bounds)]
            whole = [sum(costs[i * size : (i + 1) * size]) for i in range(sum(rooms))]
            shares = level(whole, rooms, ranks)
            if max(excess(shares, whole, rooms)) <= sum(whole) * max(rooms) // _UNEVEN:
                break  # else smaller groups do better, though more is padded
        groups = _cut(ranked, size)
        dealt = [[groups[i] for i in share] for share in shares]
        dealt[-1] += groups[len(whole) :]  # at the end of a lane, one smaller group may be left for its last step
        return dict(zip(steps, dealt, strict=True))

    def micro_batches(self, dealt: list[Rows]) -> list[Rows]:
        """See `Steps`."""
        ranked = sorted((row for group in dealt for row in group), key=_kind_and_length)
        return sorted(_cut(ranked, self.order.micro_batch), key=lambda batch: -sum(map(self.cost, batch)))


class Grouped(Steps):
    """Micro-batches of like length in an order that is shuffled for each lane by itself."""

    def sizes(self, epoch: int) -> Ints:
        """See `Steps`."""
        order = self.order
        sizes = np.zeros((order.lanes, order.steps_per_epoch * order.per_step), np.int64)
        for lane in range(order.lanes):
            length = order.lane_length(lane)
            last, rest = max(length - 1, 0) // order.window, length % order.micro_batch
            count = math.ceil(length / order.micro_batch)
            sizes[lane, :count] = order.micro_batch
            if rest:  # the small micro-batch stands anywhere in the last window
                begin = last * (order.window // order.micro_batch)
                places = order.shuffle(count - begin, epoch, lane, last, stage=1)
                sizes[lane, begin + int(np.argmax(places))] = rest
        steps: Ints = sizes.reshape(order.lanes, -1, order.per_step).sum((0, 2))
        return steps

    def deal(self, rows: Sequence[Row], epoch: int, lane: int, window: int) -> Dealt:
        """See `Steps`."""
        order = self.order
        batches = _cut(self._ranked(rows, epoch, lane, window), order.micro_batch)
        shuffled = order.shuffle(len(batches), epoch, lane, window, stage=1)
        first, dealt = window * (order.window // order.micro_batch), Dealt()
        for number, i in enumerate(shuffled, start=first):
            dealt.setdefault(number // order.per_step, []).append(batches[i])
        return dealt

    def micro_batches(self, dealt: list[Rows]) -> list[Rows]:
        """See `Steps`."""
        return dealt


def steps_of(order: Order, cost: SampleCost | None) -> Steps:
    """The steps of a run; without a cost, of one that was started before there were costs."""
    return Grouped(order) if cost is None else Levelled(order, cost)


def _cut(rows: Rows, size: int) -> list[Rows]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _kind_and_length(row: Row) -> tuple[int, int]:
    if not isinstance(row, Encoded):
        return 2, 0
    return 0 if row.images else 1, len(row.input_ids)
