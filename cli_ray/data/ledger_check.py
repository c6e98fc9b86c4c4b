"""The proof from the ledger that a run took every sample as often as the index and the weights say.

Legend: N places, R rows of a ledger, S steps of an epoch.

A number for each sample of an index, and the numbers that the ids of a ledger stand for.

Legend: N places (samples of all sources), R rows of a ledger.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cli_ray.data.index import Index
from cli_ray.data.ledger import SCHEMA, DamagedLedgerError
from cli_ray.data.order import Order
from cli_ray.data.source import shard_name

Ints = NDArray[np.int64]
Counts = NDArray[np.int32]

UNKNOWN = -1
_ID = r"(?s)^(?P<shard>.*?)#(?P<number>[0-9]{1,15})(?::|$)"


class Places:
    """The places of an index. Shards of one source whose long names are cut alike share places, as their ids do."""

    def __init__(self, index: Index) -> None:
        columns = index.columns
        width = max(len(source.shards) for source in index.sources)
        pairs, of_unit = np.unique(columns["source"] * width + columns["shard"], return_inverse=True)
        names: dict[tuple[str, str], int] = {}
        groups = np.empty(len(pairs), np.int64)
        for i, pair in enumerate(pairs):
            source = index.sources[int(pair) // width]
            path = source.shards[int(pair) % width].path
            groups[i] = names.setdefault((source.label, shard_name(source, path)), len(names))
        self._names = list(names)
        self._groups = names
        self._sizes = np.zeros(len(names), np.int64)
        np.maximum.at(self._sizes, groups[of_unit], columns["first"] + columns["count"])
        ends = np.cumsum(self._sizes)
        self._begins = ends - self._sizes
        self._first = self._begins[groups[of_unit]] + columns["first"]
        self.total = int(ends[-1])
        """N."""

    def of(self, rows: pa.Table) -> Ints:
        """Places [R] of the rows of a ledger; UNKNOWN where no sample of the index has such an id."""
        parts = pc.extract_regex(rows["id"].combine_chunks(), _ID)
        labels = rows["source"].unify_dictionaries().combine_chunks()
        shards = pc.struct_field(parts, "shard").dictionary_encode()
        sources = labels.dictionary.to_pylist()
        known = [
            [self._groups.get((label, name), UNKNOWN) for name in shards.dictionary.to_pylist()] for label in sources
        ]
        valid = pc.is_valid(parts).to_numpy(zero_copy_only=False)
        numbers = pc.struct_field(parts, "number").cast(pa.int64()).fill_null(0).to_numpy()
        places = np.full(len(rows), UNKNOWN, np.int64)
        found = np.flatnonzero(valid)
        if not len(found):
            return places
        codes = np.asarray(shards.indices.fill_null(0)), np.asarray(labels.indices)
        group = np.array(known)[codes[1][found], codes[0][found]]
        inside = (group != UNKNOWN) & (numbers[found] < self._sizes[group])
        places[found[inside]] = self._begins[group[inside]] + numbers[found[inside]]
        return places

    def name(self, place: int) -> tuple[str, str]:
        """Source and the beginning of the id, `<shard>#<number>`, of a place."""
        group = int(np.searchsorted(self._begins, place, side="right")) - 1
        source, shard = self._names[group]
        return source, f"{shard}#{place - self._begins[group]}"

    def expected(self, order: Order, epoch: int, windows: int) -> Counts:
        """How often [N] the first windows of all lanes take the sample of each place."""
        change = np.zeros(self.total + 1, np.int32)
        for lane in range(order.lanes):
            units, lows, highs = order.lead(epoch, lane, windows)
            np.add.at(change, self._first[units] + lows, 1)
            np.add.at(change, self._first[units] + highs, -1)
        return np.cumsum(change[:-1], dtype=np.int32)


Kind = Literal["twice", "missing", "unknown"]
KINDS: tuple[Kind, ...] = ("twice", "missing", "unknown")


@dataclass(frozen=True, slots=True)
class Fault:
    """A sample that came more often than it should, did not come, or does not exist."""

    kind: Kind
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
    """The result for a run."""

    epochs: list[EpochCount] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
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
    """What was found of one epoch so far."""

    seen: Counts
    """[N]"""
    sizes: Ints
    """[S]"""
    count: EpochCount
    strangers: list[pa.Table]
    """Rows that are unknown."""


class Verifier:
    """Counts the rows of a ledger, file by file, and compares each epoch with the order."""

    def __init__(
        self,
        places: Places,
        order: Order,
        read: Callable[[int], pa.Table],
        files: Sequence[int],
        step: int,
        limit: int | None,
    ) -> None:
        """
        Args:
            places: of the index.
            order: of the run.
            read: the ledger file of a step.
            files: steps of the files, ascending.
            step: of the checkpoint up to which the ledger is asked.
            limit: faults named of each epoch and kind; all when None.
        """
        self._places, self._order, self._read, self._limit = places, order, read, limit
        self._files = list(pairwise([0, *(one for one in files if one <= step)]))
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
        sizes = self._order.step_sizes(epoch)[:steps]
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
        strangers = np.flatnonzero(mine & ~good)
        count.unknown += len(strangers)
        kept = sum(map(len, tally.strangers))
        tally.strangers.append(rows.take(strangers if self._limit is None else strangers[: self._limit - kept]))

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
        on the lengths of the texts. There the number of samples of each step must be right, and each at most due.
        """
        order, count = self._order, tally.count
        used_up = count.steps * order.per_step // order.micro_batches_per_window
        finished = count.steps == order.steps_per_epoch
        due = self._places.expected(order, count.epoch, order.windows() if finished else used_up)
        at_most = due if finished else self._places.expected(order, count.epoch, used_up + 1)
        over, under = np.maximum(tally.seen - at_most, 0), np.maximum(due - tally.seen, 0)
        odd = np.flatnonzero(tally.sizes != order.step_sizes(count.epoch)[: count.steps])
        count.odd_steps = (odd + count.epoch * order.steps_per_epoch + 1).tolist()
        count.twice = int(over.sum())
        # Nothing is missing by name where the open windows lack samples: the numbers of the steps tell.
        known = count.trained + count.quarantined + count.lost - count.twice
        count.missing = max(int(under.sum()), count.expected - known)
        self._result.epochs.append(count)
        self._name(count, "twice", np.flatnonzero(over))
        self._name(count, "missing", np.flatnonzero(under))
        for row in (row for rows in tally.strangers for row in rows.to_pylist()):
            taken = ((row["step"], row["rank"]),)
            self._result.faults.append(Fault("unknown", count.epoch, row["source"], row["id"], taken))

    def _name(self, count: EpochCount, kind: Kind, places: Ints) -> None:
        """Adds faults of one kind, with where the samples were taken."""
        places = places[: self._limit]
        if not len(places):
            return
        taken: dict[int, list[tuple[int, int]]] = {int(place): [] for place in places}
        begin = count.epoch * self._order.steps_per_epoch
        overlapping = [one for one in self._files if one[1] > begin and one[0] < begin + count.steps]
        for first, last, rows in self._tables(overlapping):
            _, right = self._belonging(rows, count, first, last)
            found = self._places.of(rows)
            for i in np.flatnonzero(right & np.isin(found, places)):
                taken[int(found[i])].append((rows["step"][i].as_py(), rows["rank"][i].as_py()))
        for place, where in taken.items():
            self._result.faults.append(Fault(kind, count.epoch, *self._places.name(place), tuple(where)))
