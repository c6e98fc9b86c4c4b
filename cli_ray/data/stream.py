"""The training stream of one rank: its share of each optimiser step, in an order that is arithmetic.

Each worker of a training iterates one, and one more for its validation. `Order` says which samples stand where,
`reading` reads and encodes a window of them, `Steps` deals a window to steps, and a `Share` is what a rank takes in
one.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from cli_ray.config import DataConfig
from cli_ray.data.cost import SampleCost
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index, order_of, samples_per_epoch
from cli_ray.data.reading import Task, read_by_ray
from cli_ray.data.reads import Reads
from cli_ray.data.sample import Row
from cli_ray.data.share import Cut, Share
from cli_ray.data.steps import Dealt, steps_of
from cli_ray.errors import UserError

Windows = Iterable[list[Task]]
Read = Callable[[Windows], Iterable[list[Row]]]
"""Reads and encodes windows: of each list of tasks, the rows in the order of the tasks."""

_FIELDS = {
    "seed": "seed",
    "lanes": "data.lanes",
    "window": "data.window_samples",
    "micro_batch": "train.micro_batch_size",
    "per_step": "train.global_batch_size",
    "samples_per_epoch": "data.sources",
}
"""What the order is made of, and the field of the config that decides it."""
_TOKENS = SampleCost()


class Stream:
    """This rank's samples, optimiser step by optimiser step.

    Rank r serves lanes r, r + world_size, ...; the samples of a step over all ranks depend on the number
    of lanes and not on the number of ranks. Iterating goes on without end from where the stream stands, over as
    many epochs as are asked for; `state_dict` is the same on every rank, and fits any number of them.
    """

    def __init__(
        self,
        index: Index,
        data: DataConfig,
        encoder: Encoder,
        *,
        seed: int,
        lanes: int,
        rank: int,
        world_size: int,
        micro_batch_size: int,
        global_batch_size: int,
        cost: SampleCost | None = _TOKENS,
        read: Read | None = None,
    ) -> None:
        """
        Args:
            index: of the sources of `data`.
            data: the data section of the run.
            encoder: for the model's processor.
            seed: of the order.
            lanes: parallel lanes, see `Order`.
            rank: of this worker.
            world_size: number of workers.
            micro_batch_size: samples of a forward pass.
            global_batch_size: samples of a step; a multiple of lanes x micro_batch_size.
            cost: of samples, by which steps are levelled; None for the order of a state without costs.
            read: how windows are read; by Ray Data when None.

        Raises:
            UserError: global_batch_size does not divide so, or an epoch has no sample.
        """
        if global_batch_size % (lanes * micro_batch_size):
            raise UserError(
                f"train.global_batch_size = {global_batch_size} must be a multiple of lanes x train.micro_batch_size = "
                f"{lanes} x {micro_batch_size}; the lanes are those of the run's first start"
            )
        self.order = order_of(
            index,
            data,
            seed=seed,
            lanes=lanes,
            micro_batch_size=micro_batch_size,
            global_batch_size=global_batch_size,
        )
        self._deal_by(cost)
        if not self.order.samples_per_epoch:
            raise UserError("an epoch has no sample: raise the weights in data.sources")
        self.lanes = lanes
        self.epoch = 0
        """Epoch of the next step."""
        self.epoch_step = 0
        """Steps done in that epoch."""
        self._own = range(rank, lanes, world_size)
        self._slots = math.ceil(lanes / world_size)
        self.samples_per_epoch = samples_per_epoch(index, data)
        """Samples of every epoch, those included that are known to be lost with a shard."""
        self._index = index
        self._encoder = encoder
        self._place = (0, 0)
        self._begun: dict[tuple[int, int], Iterable[list[Row]]] = {}
        self.shards = [shard.path for source in index.sources for shard in source.shards]
        """Paths, by the number that `Reads` gives them."""
        self._numbers = {path: number for number, path in enumerate(self.shards)}
        self._reads = Reads()
        self._read = read or partial(
            read_by_ray,
            sources=index.sources,
            encoder=encoder,
            ahead=data.prefetch_windows,
            on_read=lambda task, ms: self._reads.add(self._numbers[task.path], ms),
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of every epoch, known from the index alone."""
        return self.order.steps_per_epoch

    @property
    def micro_batches_per_step(self) -> int:
        """Micro-batches of each share that `iterate` yields, the same on every rank."""
        return self._slots * self.order.per_step

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands, and what its order is made of; all that a checkpoint needs of it."""
        costs = self._cost.state() if self._cost else {}
        return {**self._order_state(), **costs, "epoch": self.epoch, "epoch_step": self.epoch_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Puts the stream where `state_dict` was taken, in the order that the state was taken of.

        Raises:
            UserError: another order; names the field that differs.
        """
        for name, now in self._order_state().items():
            if state[name] != now:
                raise UserError(
                    f"{_FIELDS[name]} gives {name} = {now}, the checkpoint's stream was made with {state[name]}: the "
                    "place in it would be another one, so set it back or start a new run"
                )
        self._deal_by(SampleCost.of_state(state))
        self.epoch, self.epoch_step = state["epoch"], state["epoch_step"]

    def begin(self) -> None:
        """Begins to read where the stream stands, so that the first step need not wait for that."""
        place = self.epoch, self.order.windows_before(self.epoch_step)
        self._begun = {place: self._read(self._tasks(*place))}

    def __iter__(self) -> Iterator[Share]:
        """The share of each step from here on; where the stream stands moves with each."""
        while True:
            for share in self.iterate(self.epoch, self.epoch_step):
                self.epoch_step += 1
                if self.epoch_step == self.steps_per_epoch:
                    self.epoch, self.epoch_step = self.epoch + 1, 0
                yield share

    def awaited(self) -> str:
        """What `iterate` waits for: epoch, window and the shards of it, for messages."""
        epoch, window = self._place
        pieces = [piece for lane in self._own for piece in self.order.pieces(epoch, lane, window)]
        shards = list(dict.fromkeys(self._index.unit(piece.unit).path for piece in pieces))
        more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
        return f"epoch {epoch}, window {window + 1} of {self.order.windows()}, from {', '.join(shards[:3])}{more}"

    def take_reads(self) -> Reads:
        """What was read for the steps since the last call."""
        taken, self._reads = self._reads, Reads()
        return taken

    def iterate(self, epoch: int, first_step: int = 0) -> Iterator[Share]:
        """The share of each step of an epoch, from `first_step` on.

        Windows before it are not read; those it falls into are, and what was used of them is left out.
        """
        read = self.order.windows_before(first_step)
        windows = self._windows(epoch, read)
        dealt: dict[int, Dealt] = {lane: {} for lane in self._own}
        for step in range(first_step, self.steps_per_epoch):
            while read < self.order.windows_until(step):
                for lane, of_window in next(windows).items():
                    for number, rows in of_window.items():
                        if number >= step:
                            dealt[lane].setdefault(number, []).extend(rows)
                read += 1
            yield self._step({lane: self.steps.micro_batches(of_lane.pop(step, [])) for lane, of_lane in dealt.items()})

    def _step(self, lanes: dict[int, list[list[Row]]]) -> Share:
        """The share of a step from the micro-batches of each lane; empty ones where a lane or a slot has none."""
        cuts = [
            Cut(batches[number] if number < len(batches) else [], (lane, number))
            for lane, batches in lanes.items()
            for number in range(self.order.per_step)
        ]
        cuts += [Cut([], (self.lanes, number)) for number in range(self.micro_batches_per_step - len(cuts))]
        return Share(cuts, self._encoder.pad_token_id, self._encoder.tiled, self._cost or _TOKENS)

    def _deal_by(self, cost: SampleCost | None) -> None:
        self._cost, self.steps = cost, steps_of(self.order, cost)

    def _order_state(self) -> dict[str, int]:
        order = self.order
        numbers = (order.seed, order.lanes, order.window, order.micro_batch, order.per_step, order.samples_per_epoch)
        return dict(zip(_FIELDS, numbers, strict=True))

    def _tasks(self, epoch: int, first: int) -> Iterator[list[Task]]:
        """What reads each window of an epoch, from the window `first` on."""
        for window in range(first, self.order.windows()):
            yield [
                Task.of(self._index, piece) for lane in self._own for piece in self.order.pieces(epoch, lane, window)
            ]

    def _windows(self, epoch: int, first: int) -> Iterator[dict[int, Dealt]]:
        """What each lane gives to each step, window by window. Lanes walk side by side."""
        order, numbers = self.order, range(first, self.order.windows())
        self._place = (epoch, first)
        read = self._begun.pop((epoch, first), None) or self._read(self._tasks(epoch, first))
        for window, rows in zip(numbers, read, strict=True):
            self._place = (epoch, window + 1)
            remaining = iter(rows)
            yield {
                lane: self.steps.deal(list(islice(remaining, order.window_length(lane, window))), epoch, lane, window)
                for lane in self._own
            }
