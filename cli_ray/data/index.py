"""The index: where every sample of the sources stands, made once, without decoding any image.

The driver of a training makes it and keeps it in the run folder; streams, `data check` and the ledger check read by it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cli_ray.config import DataConfig
from cli_ray.data.damage import Damage, impostor, weigh
from cli_ray.data.order import Order
from cli_ray.data.readers import READERS, Span
from cli_ray.data.source import Source, open_source
from cli_ray.errors import UserError
from cli_ray.storage.files import Shard

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
    damages: dict[int, Damage]
    """Units that cannot be read, by their number."""

    def __len__(self) -> int:
        return len(self.columns["count"])

    @property
    def num_samples(self) -> int:
        """Samples of all sources, broken ones included, without weights."""
        return int(self.columns["count"].sum())

    def left_out(self) -> list[str]:
        """Files at the paths of the sources that are not read, a line for each kind, for people."""
        return [f"{source.label}: not read: {files}" for source in self.sources for files in source.left_out]

    def num_per_source(self) -> list[int]:
        """Samples of each source, those that its damaged units held included."""
        samples = self.columns["count"].copy()
        samples[list(self.damages)] = [damage.samples for damage in self.damages.values()]
        return [int(samples[self.columns["source"] == number].sum()) for number in range(len(self.sources))]

    def unit(self, number: int) -> Unit:
        """One unit."""
        source, shard, start, end, count, first = (int(self.columns[name][number]) for name in _COLUMNS)
        span, damage = Span(start, end, count), self.damages.get(number)
        if damage is not None:
            span = replace(span, broken=damage.reason, damage="stretch", lost=damage.samples)
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
                "damages": {number: asdict(damage) for number, damage in self.damages.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The index that `to_json` wrote.

        Raises:
            UserError: another version wrote it.
        """
        fields = json.loads(text)
        if "damages" not in fields:
            raise UserError(
                "the index of the run's data was written by a version of cli-ray with other rules for reading it: go "
                "on with that version, or start a new run under another name"
            )
        return cls(
            sources=tuple(_source_from(source) for source in fields["sources"]),
            unit_samples=fields["unit_samples"],
            columns={name: np.array(column, np.int64) for name, column in fields["columns"].items()},
            damages={int(number): Damage(**damage) for number, damage in fields["damages"].items()},
        )


def build_index(data: DataConfig) -> Index:
    """Scans the shards of all sources once, in flat memory.

    Raises:
        UserError: a source is not there, its format cannot be told, or there is no sample at all.
    """
    sources = tuple(open_source(source) for source in data.sources)
    rows: list[tuple[int, ...]] = []
    damages: dict[int, Damage] = {}
    for s, source in enumerate(sources):
        spans, has_whole = weigh(source.shards, [_spans(source, shard, data.unit_samples) for shard in source.shards])
        for k, of_shard in enumerate(spans):
            first = 0
            for span in of_shard:
                if span.damage != "none":
                    damages[len(rows)] = Damage(span.lost, has_whole or span.damage != "cut", span.broken)
                rows.append((s, k, span.start, span.end, span.count, first))
                first += span.count
    if not rows:
        raise UserError(f"data.sources: no sample in {', '.join(source.path for source in data.sources)}")
    table = np.array(rows, np.int64)
    return Index(sources, data.unit_samples, dict(zip(_COLUMNS, table.T.copy(), strict=True)), damages)


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


def samples_per_epoch(index: Index, data: DataConfig) -> float:
    """Samples of an epoch by the weights of the sources, those that damaged units held included."""
    pairs = zip(data.sources, index.num_per_source(), strict=True)
    return sum(source.weight * samples for source, samples in pairs)


def _spans(source: Source, shard: Shard, unit_samples: int) -> Sequence[Span]:
    if shard.size == 0:
        return [Span(0, 0, 1, "the file is empty")]
    try:
        spans = list(READERS[source.format].spans(shard, unit_samples))
        is_unreadable = len(spans) == 1 and (spans[0].broken or spans[0].damage != "none")
        if is_unreadable and (instead := impostor(shard.path, shard.size)):
            return [Span(0, 0, 1, instead)]
    except OSError as error:
        raise UserError(f"{shard.path}: cannot be read: {error}") from error
    return spans


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
