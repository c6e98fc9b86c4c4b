"""From pieces of the index to encoded rows, in this process: what Ray tasks run, and `data check` and tests too."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

from cli_ray.data.encoded import Row
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index
from cli_ray.data.order import Piece
from cli_ray.data.readers import Span
from cli_ray.data.source import Source, read_samples


@dataclass(frozen=True, slots=True)
class Task:
    """Everything needed to read one piece; scalars only, so that it is a row of a Ray dataset."""

    source: int
    path: str
    start: int
    end: int
    count: int
    broken: str
    damage: Literal["none", "stretch", "cut"]
    lost: int
    first: int
    low: int
    high: int

    @classmethod
    def of(cls, index: Index, piece: Piece) -> "Task":
        """The task of a piece."""
        unit = index.unit(piece.unit)
        span = {field.name: getattr(unit.span, field.name) for field in fields(Span)}
        return cls(source=unit.source, path=unit.path, first=unit.first, low=piece.low, high=piece.high, **span)


def run(task: Task, sources: tuple[Source, ...], encoder: Encoder) -> Iterator[Row]:
    """The encoded rows and holes of a piece."""
    span = Span(task.start, task.end, task.count, task.broken, task.damage, task.lost)
    samples = read_samples(
        sources[task.source], task.path, span, task.first, encoder.limits, low=task.low, high=task.high
    )
    yield from map(encoder, samples)


def read_here(windows: Iterable[list[Task]], sources: tuple[Source, ...], encoder: Encoder) -> Iterator[list[Row]]:
    """The rows of each window, without Ray."""
    for tasks in windows:
        yield [row for task in tasks for row in run(task, sources, encoder)]
