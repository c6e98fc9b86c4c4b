"""A number for each sample of an index, and the numbers that the ids in a ledger stand for.

`verify` counts samples by these numbers, which takes four bytes a sample where ids would take a hundred.

Legend: N places (samples of all sources), R rows of a ledger.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cli_ray.data.index import Index
from cli_ray.data.order import Ints, Order
from cli_ray.data.source import shard_name

Counts = NDArray[np.int32]

UNKNOWN = -1
"""The place of an id that no sample of the index has."""
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
        read = np.flatnonzero(valid)
        if not len(read):
            return places
        codes = np.asarray(shards.indices.fill_null(0)), np.asarray(labels.indices)
        group = np.array(known)[codes[1][read], codes[0][read]]
        inside = (group != UNKNOWN) & (numbers[read] < self._sizes[group])
        places[read[inside]] = self._begins[group[inside]] + numbers[read[inside]]
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
