"""The training stream of one rank: its share of each optimiser step, in an order that is arithmetic.

Each worker of a training iterates one, and one more for its validation. `Order` says which samples stand where,
`reading` reads and encodes a window of them; here a window is cut into micro-batches, and these are dealt to steps: a
`Share` is what a rank takes in one.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

from cli_ray.config import DataConfig
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index, order_of, samples_per_epoch
from cli_ray.data.order import Order
from cli_ray.data.reading import Task, read_by_ray
from cli_ray.data.sample import Encoded, Row
from cli_ray.data.share import Cut, Share
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
        self._read = read or partial(read_by_ray, sources=index.sources, encoder=encoder, ahead=data.prefetch_windows)

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
        return {**self._order_state(), "epoch": self.epoch, "epoch_step": self.epoch_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Puts the stream where `state_dict` was taken.

        Raises:
            UserError: another order; names the field that differs.
        """
        for name, now in self._order_state().items():
            if state[name] != now:
                raise UserError(
                    f"{_FIELDS[name]} gives {name} = {now}, the checkpoint's stream was made with {state[name]}: the "
                    "place in it would be another one, so set it back or start a new run"
                )
        self.epoch, self.epoch_step = state["epoch"], state["epoch_step"]

    def begin(self) -> None:
        """Begins to read where the stream stands, so that the first step need not wait for that."""
        place = self.epoch, self._first_window(self.epoch_step)[0]
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

    def iterate(self, epoch: int, first_step: int = 0) -> Iterator[Share]:
        """The share of each step of an epoch, from `first_step` on.

        Windows before it are not read; those it falls into are, and what was used of them is left out.
        """
        order = self.order
        first_window, skipped = self._first_window(first_step)
        steps = range(first_step, order.steps_per_epoch)
        queues: dict[int, deque[list[Row]]] = {lane: deque() for lane in self._own}
        windows = self._windows(epoch, first_window)
        for _ in steps:
            while any(len(queue) < order.per_step + skipped for queue in queues.values()):
                window = next(windows, None)
                if window is None:
                    break
                for lane, batches in window.items():
                    queues[lane].extend(batches)
            for queue in queues.values():
                for _ in range(min(skipped, len(queue))):
                    queue.popleft()
            skipped = 0
            yield self._step(queues)

    def _step(self, queues: dict[int, deque[list[Row]]]) -> Share:
        """Takes one step's micro-batches from the lanes; empty ones where a lane or a slot has none."""
        cuts = [
            Cut(queue.popleft() if queue else [], (lane, number))
            for lane, queue in queues.items()
            for number in range(self.order.per_step)
        ]
        cuts += [Cut([], (self.lanes, number)) for number in range(self.micro_batches_per_step - len(cuts))]
        return Share(cuts, self._encoder.pad_token_id, self._encoder.tiled)

    def _order_state(self) -> dict[str, int]:
        order = self.order
        numbers = (order.seed, order.lanes, order.window, order.micro_batch, order.per_step, order.samples_per_epoch)
        return dict(zip(_FIELDS, numbers, strict=True))

    def _first_window(self, step: int) -> tuple[int, int]:
        """The window that a step of an epoch falls into, and the micro-batches of a lane in it before the step."""
        return divmod(step * self.order.per_step, self.order.micro_batches_per_window)

    def _tasks(self, epoch: int, first: int) -> Iterator[list[Task]]:
        """What reads each window of an epoch, from the window `first` on."""
        for window in range(first, self.order.windows()):
            yield [
                Task.of(self._index, piece) for lane in self._own for piece in self.order.pieces(epoch, lane, window)
            ]

    def _windows(self, epoch: int, first: int) -> Iterator[dict[int, list[list[Row]]]]:
        """The micro-batches of each lane, window by window. Lanes walk side by side."""
        order, numbers = self.order, range(first, self.order.windows())
        self._place = (epoch, first)
        read = self._begun.pop((epoch, first), None) or self._read(self._tasks(epoch, first))
        for window, rows in zip(numbers, read, strict=True):
            self._place = (epoch, window + 1)
            remaining = iter(rows)
            yield {
                lane: micro_batches(
                    list(islice(remaining, order.window_length(lane, window))), order, epoch, lane, window
                )
                for lane in self._own
            }


def micro_batches(rows: Sequence[Row], order: Order, epoch: int, lane: int, window: int) -> list[list[Row]]:
    """Cuts the rows of a window into micro-batches.

    Rows with and without images, and short and long ones, come apart, so that little is padded; holes come
    last. The number of micro-batches depends on the number of rows alone.
    """
    shuffled = [rows[i] for i in order.shuffle(len(rows), epoch, lane, window, stage=0)]
    ranked = sorted(shuffled, key=_kind_and_length)
    size = order.micro_batch
    batches = [ranked[i : i + size] for i in range(0, len(ranked), size)]
    return [batches[i] for i in order.shuffle(len(batches), epoch, lane, window, stage=1)]


def _kind_and_length(row: Row) -> tuple[int, int]:
    if not isinstance(row, Encoded):
        return 2, 0
    return 0 if row.images else 1, len(row.input_ids)
