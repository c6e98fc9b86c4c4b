"""The proof from the ledger that a run took every sample as often as the index and the weights say.

`cli-ray data verify` prints what it finds. A ledger is read file by file, so memory stays flat.

Legend: N places (samples of all sources, see `places`), R rows of a file, S steps of an epoch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cli_ray.data.ledger import SCHEMA, DamagedLedgerError
from cli_ray.data.order import Ints
from cli_ray.data.places import UNKNOWN, Counts, Places
from cli_ray.data.steps import Steps

FaultKind = Literal["twice", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class SampleFault:
    """A sample that came more often than it should, did not come, or does not exist."""

    kind: FaultKind
    epoch: int
    source: str
    id: str
    taken: tuple[tuple[int, int], ...]
    """(step, rank) of each time it came."""


@dataclass
class EpochCount:
    """What an epoch should have taken and what it took."""

    epoch: int
    steps: int
    """Optimiser steps done in it."""
    expected: int
    """Samples that these steps take, those included that are lost with others."""
    trained: int = 0
    quarantined: int = 0
    """Bad samples left out one by one."""
    lost: int = 0
    """Samples left out together: with a shard, a stretch of one or a record that swallowed others."""
    twice: int = 0
    """Times that a sample came beyond what is due."""
    missing: int = 0
    """Samples that are due and did not come."""
    unknown: int = 0
    """Rows of samples that are not in the index, or not of the step they stand under."""
    odd_steps: list[int] = field(default_factory=list)
    """Steps with another number of samples than they should have, none included."""

    @property
    def is_right(self) -> bool:
        """Whether all is as it should be."""
        return not (self.twice or self.missing or self.unknown or self.odd_steps)


@dataclass(frozen=True, slots=True)
class Loss:
    """Samples that were left out together."""

    epoch: int
    source: str
    id: str
    samples: int


@dataclass
class Verification:
    """What the ledger of a run proves."""

    epochs: list[EpochCount] = field(default_factory=list)
    faults: list[SampleFault] = field(default_factory=list)
    """The first ones of each epoch and kind."""
    losses: list[Loss] = field(default_factory=list)
    """The first ones of each epoch."""
    uncertain: list[str] = field(default_factory=list)
    """Shards that may have held more than was counted: nothing tells how many samples."""
    damaged: list[str] = field(default_factory=list)
    """Files that cannot be read."""

    @property
    def is_right(self) -> bool:
        """Whether no sample came twice and none is missing."""
        return not self.damaged and all(count.is_right for count in self.epochs)


@dataclass
class _Tally:
    """What the rows of one epoch come to so far."""

    seen: Counts
    """[N]"""
    sizes: Ints
    """[S]"""
    count: EpochCount
    unknown: list[pa.Table]
    """Rows of samples that are not in the index, or not of their step."""


class Verifier:
    """Counts the rows of a ledger, file by file, and compares each epoch with the order."""

    def __init__(
        self,
        places: Places,
        steps: Steps,
        read: Callable[[int], pa.Table],
        files: Sequence[int],
        step: int,
        limit: int | None,
    ) -> None:
        """
        Args:
            places: of the index.
            steps: of the run.
            read: the ledger file of a step.
            files: steps of the files, ascending.
            step: of the checkpoint up to which the ledger is asked.
            limit: faults named of each epoch and kind; all when None.
        """
        self._places, self._steps, self._order, self._read, self._limit = places, steps, steps.order, read, limit
        self._files = list(pairwise([0, *(file for file in files if file <= step)]))
        self._step = step
        self._result = Verification()

    def run(self) -> Verification:
        """Reads each file once, and those of an epoch once more where it has faults."""
        length = self._order.steps_per_epoch
        ahead = iter(self._tables(self._files))
        waiting = next(ahead, None)
        for epoch in range(-(-self._step // length)):
            begin, end = epoch * length, min((epoch + 1) * length, self._step)
            tally = self._start(epoch, end - begin)
            while waiting is not None:
                first, last, rows = waiting
                self._add(tally, rows, first, last)
                if last > end:
                    break  # the rest of it is of the next epoch
                waiting = next(ahead, None)
                if last == end:
                    break
            self._finish(tally)
        return self._result

    def _tables(self, files: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, pa.Table]]:
        """Rows of the files, and the steps between which they should lie."""
        for before, step in files:
            try:
                rows = self._read(step)
            except DamagedLedgerError as error:
                if str(error) not in self._result.damaged:
                    self._result.damaged.append(str(error))
                rows = SCHEMA.empty_table()
            yield before, step, rows

    def _start(self, epoch: int, steps: int) -> _Tally:
        sizes = self._steps.sizes(epoch)[:steps]
        count = EpochCount(epoch, steps, int(sizes.sum()))
        return _Tally(np.zeros(self._places.total, np.int32), np.zeros(steps, np.int64), count, [])

    def _belonging(
        self, rows: pa.Table, count: EpochCount, first: int, last: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows [R] of a file are of an epoch, and which of these stand where they should."""
        step, epoch, epoch_step = (rows[name].to_numpy().astype(np.int64) for name in ("step", "epoch", "epoch_step"))
        length = self._order.steps_per_epoch
        begin, end = count.epoch * length, count.epoch * length + count.steps
        # A row is of the epoch that its step says; one outside the steps of its file, of the epoch the file ends in.
        outside = (step <= first) | (step > last)
        mine = np.where(outside, (last > begin) & (last <= end), (step > begin) & (step <= end))
        right = mine & ~outside & (epoch == count.epoch) & (epoch_step == step - 1 - begin)
        return mine, right

    def _add(self, tally: _Tally, rows: pa.Table, first: int, last: int) -> None:
        """Counts the rows of a file that are of the epoch."""
        count = tally.count
        mine, right = self._belonging(rows, count, first, last)
        places = self._places.of(rows)
        good = right & (places != UNKNOWN)
        np.add.at(tally.seen, places[good], 1)
        begin = count.epoch * self._order.steps_per_epoch + 1
        tally.sizes += np.bincount(rows["step"].to_numpy()[good] - begin, minlength=len(tally.sizes))
        self._count(count, rows, np.flatnonzero(good))
        unknown = np.flatnonzero(mine & ~good)
        count.unknown += len(unknown)
        kept = sum(map(len, tally.unknown))
        tally.unknown.append(rows.take(unknown if self._limit is None else unknown[: self._limit - kept]))

    def _count(self, count: EpochCount, rows: pa.Table, good: Ints) -> None:
        """Counts the rows that stand where they should, by what became of them."""
        samples = rows["quarantined"].to_numpy()[good]
        lost = samples > 1
        count.trained += int((samples == 0).sum())
        count.quarantined += int((samples == 1).sum())
        count.lost += int(samples[lost].sum())
        count.expected += int((samples[lost] - 1).sum())
        kept = sum(loss.epoch == count.epoch for loss in self._result.losses)
        for row in rows.take(good[lost][: None if self._limit is None else max(0, self._limit - kept)]).to_pylist():
            self._result.losses.append(Loss(count.epoch, row["source"], row["id"], row["quarantined"]))

    def _finish(self, tally: _Tally) -> None:
        """Compares an epoch with what is due.

        Of windows that were not used up, the samples are known but not which of them came first: that depends
        on what they hold. There the number of samples of each step must be right, and each at most due.
        """
        order, count = self._order, tally.count
        used_up = order.windows_before(count.steps)
        finished = count.steps == order.steps_per_epoch
        due = self._places.expected(order, count.epoch, order.windows() if finished else used_up)
        at_most = due if finished else self._places.expected(order, count.epoch, used_up + 1)
        over, under = np.maximum(tally.seen - at_most, 0), np.maximum(due - tally.seen, 0)
        odd = np.flatnonzero(tally.sizes != self._steps.sizes(count.epoch)[: count.steps])
        count.odd_steps = (odd + count.epoch * order.steps_per_epoch + 1).tolist()
        count.twice = int(over.sum())
        # Nothing is missing by name where the open windows lack samples: the numbers of the steps tell.
        known = count.trained + count.quarantined + count.lost - count.twice
        count.missing = max(int(under.sum()), count.expected - known)
        self._result.epochs.append(count)
        self._name(count, "twice", np.flatnonzero(over))
        self._name(count, "missing", np.flatnonzero(under))
        for row in (row for rows in tally.unknown for row in rows.to_pylist()):
            taken = ((row["step"], row["rank"]),)
            self._result.faults.append(SampleFault("unknown", count.epoch, row["source"], row["id"], taken))

    def _name(self, count: EpochCount, kind: FaultKind, places: Ints) -> None:
        """Adds faults of one kind, with where the samples were taken."""
        places = places[: self._limit]
        if not len(places):
            return
        taken: dict[int, list[tuple[int, int]]] = {int(place): [] for place in places}
        begin = count.epoch * self._order.steps_per_epoch
        overlapping = [(first, last) for first, last in self._files if last > begin and first < begin + count.steps]
        for first, last, rows in self._tables(overlapping):
            _, right = self._belonging(rows, count, first, last)
            of_rows = self._places.of(rows)
            for i in np.flatnonzero(right & np.isin(of_rows, places)):
                taken[int(of_rows[i])].append((rows["step"][i].as_py(), rows["rank"][i].as_py()))
        for place, where in taken.items():
            self._result.faults.append(SampleFault(kind, count.epoch, *self._places.name(place), tuple(where)))
