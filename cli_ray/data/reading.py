"""From pieces of units to encoded rows: what a `Stream` reads, window by window, by Ray Data or in this process.

Each rank runs its own Ray datasets inside its Ray Train worker, one per window, a few windows ahead.
`streaming_split` would deal blocks to ranks by timing, so that no two runs were alike; one dataset for a whole
epoch would put no bound on what is read ahead, and takes 0.8 ms per unit to set up (Ray 2.60). A rank's tasks run on
its own node, and on others where that one has no CPU free. A process that reads loads no torch, which would take it
longer than a window, so nothing that this module imports may load it; see `WITHOUT_TORCH`.

Legend: I images, P tiles, C channels, H height, W width.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from cli_ray.console import is_verbose
from cli_ray.data.index import Index
from cli_ray.data.order import Piece
from cli_ray.data.readers import Span
from cli_ray.data.sample import BadSample, Encoded, Row, Shrunk
from cli_ray.data.source import Source, read_samples
from cli_ray.packages import without

if TYPE_CHECKING:
    from cli_ray.data.encoder import Encoder

_INTS = ("input_ids", "labels", "turns", "sizes")
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        *((name, pa.large_list(pa.int32())) for name in _INTS),
        ("pixels", pa.large_list(pa.uint8())),
        ("shapes", pa.large_list(pa.int32())),
        ("shrunk", pa.struct([("size", pa.list_(pa.int32())), ("full_tokens", pa.int64()), ("tokens", pa.int64())])),
        ("bad", pa.struct([*((name, pa.string()) for name in ("where", "reason", "detail")), ("samples", pa.int64())])),
    ]
)
_TOOK = "read_ms"
"""The column that says what a task took; null but in its first row."""
WITHOUT_TORCH = {"env_vars": {"TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}}
"""The runtime environment of processes in which transformers is loaded without torch, and says nothing of it. One of
its own keeps other tasks, which may need torch, out of these processes."""


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


def run(task: Task, sources: tuple[Source, ...], encoder: "Encoder") -> Iterator[Row]:
    """The encoded rows and holes of a piece."""
    span = Span(task.start, task.end, task.count, task.broken, task.damage, task.lost)
    samples = read_samples(
        sources[task.source], task.path, span, task.first, encoder.limits, low=task.low, high=task.high
    )
    yield from map(encoder, samples)


def read_here(windows: Iterable[list[Task]], sources: tuple[Source, ...], encoder: "Encoder") -> Iterator[list[Row]]:
    """The rows of each window, without Ray."""
    for tasks in windows:
        yield [row for task in tasks for row in run(task, sources, encoder)]


def read_by_ray(
    windows: Iterable[list[Task]],
    sources: tuple[Source, ...],
    encoder: "Encoder",
    ahead: int,
    on_read: Callable[[Task, float], object] = lambda task, ms: None,
) -> Iterator[list[Row]]:
    """The rows of each window. The first ones are being read when this returns.

    Args:
        windows: tasks of each window; a task is one Ray task of one CPU.
        sources: of the index.
        encoder: sent to each node once and unpacked in each of its processes once.
        ahead: windows that are read while one is consumed.
        on_read: called for each task of a window, once that is consumed, with the milliseconds that it took.
    """
    if not is_verbose():
        logging.getLogger("ray.data").setLevel(logging.WARNING)  # else it tells of every window
        logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that there is no progress bar
    reference = ray.put(encoder)
    few = tuple(replace(source, shards=()) for source in sources)  # tasks name their shard, so spare them the list
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="window")
    reads = (pool.submit(_read_window, tasks, few, reference, encoder.needs_torch) for tasks in windows)
    return _in_order(deque(islice(reads, ahead)), reads, pool, on_read)


def _in_order(
    pending: "deque[Future[Window]]",
    reads: "Iterator[Future[Window]]",
    pool: ThreadPoolExecutor,
    on_read: Callable[[Task, float], object],
) -> Iterator[list[Row]]:
    """The rows of what is read, while the next is begun for each that is taken."""
    try:
        for read in reads:
            pending.append(read)
            yield _rows(pending.popleft().result(), on_read)
        while pending:
            yield _rows(pending.popleft().result(), on_read)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def to_table(rows: Sequence[Row]) -> pa.Table:
    """One Arrow row per sample or hole. Numbers are copied once, end to end; a hole has none."""
    encoded = [row if isinstance(row, Encoded) else None for row in rows]
    images = [row.images if row else [] for row in encoded]
    columns = [
        [row.id for row in rows],
        [row.source for row in rows],
        *(_joined([[getattr(row, name)] if row else [] for row in encoded], np.int32) for name in _INTS),
        _joined(images, np.uint8),
        _joined([[np.array(image.shape, np.int32) for image in some] for some in images], np.int32),
        [row.shrunk._asdict() if row and row.shrunk else None for row in encoded],
        [row.to_dict() if isinstance(row, BadSample) else None for row in rows],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.table(arrays, schema=_SCHEMA)


def from_table(table: pa.Table) -> Iterator[Row]:
    """The rows that `to_table` was given. Their numbers are views of the table's memory."""
    for batch in table.select(_SCHEMA.names).to_batches():
        yield from map(_row, *map(_values, batch.columns))


@dataclass(frozen=True, slots=True)
class Window:
    """What was read of the tasks of a window."""

    tasks: list[Task]
    tables: list[pa.Table]
    """In the order of the tasks. They lie in shared memory until the last row of them is dropped."""


def _rows(window: Window, on_read: Callable[[Task, float], object]) -> list[Row]:
    took = (ms for table in window.tables for ms in table[_TOOK].drop_null().to_pylist())
    for task, ms in zip(window.tasks, took, strict=True):
        on_read(task, ms)
    return [row for table in window.tables for row in from_table(table)]


def _timed(task: Task, sources: tuple[Source, ...], encoder: "Encoder") -> pa.Table:
    """The table of a task, with the milliseconds that it took beside its first row."""
    begun = time.perf_counter()
    table = to_table(list(run(task, sources, encoder)))
    ms = (time.perf_counter() - begun) * 1e3
    return table.append_column(_TOOK, pa.array([ms] + [None] * (len(table) - 1), pa.float64()))


def _read_window(tasks: list[Task], sources: tuple[Source, ...], encoder: ray.ObjectRef, needs_torch: bool) -> Window:
    """Runs the tasks of one window."""
    if not tasks:
        return Window([], [])

    def encode(batch: pa.Table) -> pa.Table:
        of_process = _encoder(encoder, needs_torch)
        return pa.concat_tables(_timed(Task(**task), sources, of_process) for task in batch.to_pylist())

    dataset = ray.data.from_items([asdict(task) for task in tasks], override_num_blocks=len(tasks))
    # Ray Data would spread the tasks over all nodes, and pixels over the network.
    dataset = dataset.map_batches(
        encode,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        fallback_strategy=[{"label_selector": {}}],
        **({} if needs_torch else {"runtime_env": WITHOUT_TORCH}),
    )
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    return Window(tasks, ray.get(dataset.materialize().to_arrow_refs()))


@lru_cache(maxsize=2)
def _encoder(reference: ray.ObjectRef, needs_torch: bool) -> "Encoder":
    with nullcontext() if needs_torch else without("torch"):
        encoder: Encoder = ray.get(reference)
    return encoder


def begin_reader() -> None:
    """Starts a process that loads what reading takes, so that the first window does not wait for it."""
    node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    options = {"num_cpus": 0, "max_retries": 0, "label_selector": node, "runtime_env": WITHOUT_TORCH}
    ray.remote(_prepare).options(**options).remote()


def _prepare() -> None:
    with without("torch"):
        import cli_ray.data.encoder  # noqa: F401


def _joined(parts: Sequence[Sequence[NDArray[Any]]], dtype: type[np.generic]) -> pa.LargeListArray:
    """A list a row, of all numbers of its parts."""
    ends = np.cumsum([0, *(sum(part.size for part in some) for some in parts)])
    numbers = [part.ravel() for some in parts for part in some]
    return pa.LargeListArray.from_arrays(ends, np.concatenate([np.empty(0, dtype), *numbers]))


def _values(column: pa.Array) -> Sequence[Any]:
    """The value of each row: views of numbers, Python's own objects of all else."""
    if not isinstance(column, pa.LargeListArray):
        return list(column.to_pylist())
    numbers, ends = column.values.to_numpy(), column.offsets.to_numpy().tolist()
    return [numbers[start:end] for start, end in pairwise(ends)]


def _row(
    name: str,
    source: str,
    input_ids: NDArray[np.int32],
    labels: NDArray[np.int32],
    turns: NDArray[np.int32],
    sizes: NDArray[np.int32],
    pixels: NDArray[np.uint8],
    shapes: NDArray[np.int32],
    shrunk: dict[str, Any] | None,
    bad: dict[str, Any] | None,
) -> Row:
    if bad is not None:
        return BadSample(name, source, **bad)
    images, start = [], 0
    for shape in shapes.reshape(-1, 4).tolist():
        end = start + math.prod(shape)
        images.append(pixels[start:end].reshape(shape))
        start = end
    image = Shrunk(**shrunk | {"size": tuple(shrunk["size"])}) if shrunk else None
    return Encoded(name, source, input_ids, labels, images, sizes.reshape(-1, 2), turns, image)
