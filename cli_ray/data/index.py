"""The index: where every sample of the sources stands, made once, without decoding any image."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cli_ray.config import DataConfig
from cli_ray.data.files import Shard
from cli_ray.data.order import Order
from cli_ray.data.readers import READERS, Span
from cli_ray.data.source import Source, open_source
from cli_ray.errors import UserError

_COLUMNS = ("source", "shard", "start", "end", "count", "first")


@dataclass(frozen=True, slots=True)
class Unit:
    """Neighbouring samples of a shard that are read together."""

    source: int
    """Number of the source."""
    path: str
    """The shard."""
    span: Span
    first: int
    """Number of the first sample within the shard."""


@dataclass(frozen=True, eq=False)
class Index:
    """Units of all sources, as columns. Broken pieces count as samples, so positions never move."""

    sources: tuple[Source, ...]
    unit_samples: int
    columns: dict[str, NDArray[np.int64]]
    """One entry per unit: source, shard (number within the source), start, end, count, first."""
    broken: dict[int, str]
    """Why a unit cannot be read, by its number."""

    def __len__(self) -> int:
        return len(self.columns["count"])

    @property
    def num_samples(self) -> int:
        """Samples of all sources, broken ones included, without weights."""
        return int(self.columns["count"].sum())

    def left_out(self) -> list[str]:
        """Files at the paths of the sources that are not read, a line for each kind, for people."""
        return [f"{source.label}: not read: {files}" for source in self.sources for files in source.left_out]

    def unit(self, number: int) -> Unit:
        """One unit."""
        source, shard, start, end, count, first = (int(self.columns[name][number]) for name in _COLUMNS)
        span = Span(start, end, count, self.broken.get(number, ""))
        return Unit(source, self.sources[source].shards[shard].path, span, first)

    def check_unchanged(self, data: DataConfig) -> None:
        """Compares the sources with what they were.

        Raises:
            UserError: shards came, went or changed, or a field that decides where samples stand did.
        """
        if data.unit_samples != self.unit_samples:
            raise UserError(
                f"data.unit_samples = {data.unit_samples}, the run was started with {self.unit_samples}: "
                "the order of the samples depends on it, so keep it or start a new run"
            )
        now = [open_source(source) for source in data.sources]
        changes = [change for old, new in zip(self.sources, now, strict=False) for change in _changes(old, new)]
        if len(now) != len(self.sources):
            changes.append(f"{len(now)} sources, there were {len(self.sources)}")
        if changes:
            shown = "\n  ".join(changes[:10] + ([f"and {len(changes) - 10} more"] if len(changes) > 10 else []))
            raise UserError(f"the data changed since the run was started, start a new run for it:\n  {shown}")

    def to_json(self) -> str:
        """The whole index as text."""
        return json.dumps(
            {
                "sources": [asdict(source) for source in self.sources],
                "unit_samples": self.unit_samples,
                "columns": {name: column.tolist() for name, column in self.columns.items()},
                "broken": self.broken,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The index that `to_json` wrote."""
        fields = json.loads(text)
        return cls(
            sources=tuple(_source_from(source) for source in fields["sources"]),
            unit_samples=fields["unit_samples"],
            columns={name: np.array(column, np.int64) for name, column in fields["columns"].items()},
            broken={int(number): reason for number, reason in fields["broken"].items()},
        )


def build_index(data: DataConfig) -> Index:
    """Scans the shards of all sources once, in flat memory.

    Raises:
        UserError: a source is not there, its format cannot be told, or there is no sample at all.
    """
    sources = tuple(open_source(source) for source in data.sources)
    rows: list[tuple[int, ...]] = []
    broken: dict[int, str] = {}
    for s, source in enumerate(sources):
        for k, shard in enumerate(source.shards):
            first = 0
            for span in _spans(source, shard, data.unit_samples):
                if span.broken:
                    broken[len(rows)] = span.broken
                rows.append((s, k, span.start, span.end, span.count, first))
                first += span.count
    if not rows:
        raise UserError(f"data.sources: no sample in {', '.join(source.path for source in data.sources)}")
    table = np.array(rows, np.int64)
    return Index(sources, data.unit_samples, dict(zip(_COLUMNS, table.T.copy(), strict=True)), broken)


def order_of(
    index: Index, data: DataConfig, *, seed: int, lanes: int, micro_batch_size: int, global_batch_size: int
) -> Order:
    """The order in which a run takes the samples of an index; see `Stream` for the arguments."""
    return Order(
        counts=index.columns["count"],
        sources=index.columns["source"],
        weights=[source.weight for source in data.sources],
        seed=seed,
        lanes=lanes,
        window=math.ceil(data.window_samples / micro_batch_size) * micro_batch_size,
        micro_batch=micro_batch_size,
        per_step=global_batch_size // (lanes * micro_batch_size),
    )


def _spans(source: Source, shard: Shard, unit_samples: int) -> Sequence[Span]:
    if shard.size == 0:
        return [Span(0, 0, 1, "the file is empty")]
    try:
        return list(READERS[source.format].spans(shard, unit_samples))
    except OSError as error:
        raise UserError(f"{shard.path}: cannot be read: {error}") from error


def _source_from(fields: dict[str, Any]) -> Source:
    lists = {name: tuple(fields[name]) for name in ("image_roots", "left_out")}
    return Source(**{**fields, **lists, "shards": tuple(Shard(**shard) for shard in fields["shards"])})


def _changes(old: Source, new: Source) -> list[str]:
    """What differs between a source then and now, a line each."""
    changed = []
    for name in ("label", "format", "image_folder", "image_roots", "llava_preprocessing", "prompt"):
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            changed.append(f"{old.label}: {name} is {now!r}, was {was!r}")
    before, after = ({shard.path: shard for shard in source.shards} for source in (old, new))
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            what = "is new" if path not in before else "is gone" if path not in after else "was changed"
            changed.append(f"{old.label}: {path} {what}")
    return changed
