"""How far an evaluation has come: one live table on a terminal, plain lines elsewhere.

`cli_ray.evals.run` opens it; replies and scores report to it from the driver's threads.
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from cli_ray.console import is_terminal
from cli_ray.evals.generation.job import PoolState
from cli_ray.evals.results.aggregate import Row
from cli_ray.evals.results.table import line, score
from cli_ray.text import duration, stamped

if TYPE_CHECKING:
    from rich.table import Table

PAUSE_S = 10.0
"""Seconds between plain lines at least."""


@dataclass(slots=True)
class Count:
    """How far a benchmark has come."""

    total: int
    done: int
    begun_s: float | None = None
    """Time of the first samples of this call, which open the count of its rate."""
    begun_done: int = 0
    """Samples done then."""
    row: Row | None = None
    """Once it is complete."""

    def rate(self, now_s: float) -> float | None:
        """Samples/s of this call; None before there is a first figure."""
        if self.begun_s is None or now_s <= self.begun_s or self.done <= self.begun_done:
            return None
        return (self.done - self.begun_done) / (now_s - self.begun_s)


class Display(Protocol):
    """Shows the counts."""

    def open(self) -> None:
        """Begins."""

    def moved(self) -> None:
        """Some samples are done."""

    def pooled(self, pool: PoolState) -> None:
        """Replicas came or went."""

    def finished(self, row: Row) -> None:
        """A benchmark is complete."""

    def close(self) -> None:
        """Ends; leaves the stream as it was."""


class Progress:
    """A context manager around a run: `start`, `advance` and `finish` each benchmark. Any thread may call."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic, *, live: bool = True
    ) -> None:
        """Shows a table on a terminal and plain lines elsewhere.

        Args:
            stream: standard output if none is given.
            clock: gives seconds.
            live: False gives plain lines on a terminal, too.
        """
        stream = stream or sys.stdout
        self.counts: dict[str, Count] = {}
        self.pool: PoolState | None = None
        self.used = ""
        """What the work has used so far, for people."""
        self.lock = RLock()
        self.clock = clock
        self._display: Display = _LiveTable(self, stream) if live and is_terminal(stream) else _Lines(self, stream)

    def start(self, name: str, total: int, done: int) -> None:
        """A benchmark will be run; `done` of its `total` samples were stored by an earlier call."""
        with self.lock:
            self.counts[name] = Count(total, done)

    def advance(self, name: str, n: int) -> None:
        """`n` more samples of it are done."""
        with self.lock:
            count = self.counts[name]
            count.done += n
            if count.begun_s is None:
                count.begun_s, count.begun_done = self.clock(), count.done
            self._display.moved()

    def replicas(self, pool: PoolState) -> None:
        """Replicas came or went; fits `cli_ray.evals.generation.pool.run_pool` as `on_change`."""
        with self.lock:
            self._display.pooled(pool)
            self.pool = pool

    def note(self, used: str) -> None:
        """Says what the work has used so far, such as tokens; shown with the next figures."""
        with self.lock:
            self.used = used

    def finish(self, row: Row) -> None:
        """It is complete."""
        with self.lock:
            self.counts.setdefault(row.benchmark, Count(row.n, row.n_found)).row = row
            self._display.finished(row)

    def sum(self) -> Count:
        """All benchmarks together."""
        with self.lock:
            begun = [count for count in self.counts.values() if count.begun_s is not None]
            total, done = (sum(getattr(count, what) for count in self.counts.values()) for what in ("total", "done"))
            since = done - sum(count.done - count.begun_done for count in begun)
            return Count(total, done, min((count.begun_s or 0.0 for count in begun), default=None), since)

    def __enter__(self) -> Self:
        self._display.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()


class _Lines:
    """Plain lines: at most one every few seconds, and one for each finished benchmark."""

    def __init__(self, progress: Progress, stream: TextIO) -> None:
        self._progress = progress
        self._stream = stream
        self._last_s = float("-inf")

    def open(self) -> None:
        self._last_s = self._progress.clock()

    def moved(self) -> None:
        now = self._progress.clock()
        if now - self._last_s >= PAUSE_S:
            self._last_s = now
            self._say(self._state(now))

    def pooled(self, pool: PoolState) -> None:
        """Says what a wait is for, when it ends, and what dies; a pool that grows is seen in the rate."""
        before = self._progress.pool
        if before is None or pool.lost > before.lost or (pool.ready and not before.ready):
            self._say(_pooled(pool))

    def finished(self, row: Row) -> None:
        self._say(line(row))

    def close(self) -> None:
        pass

    def _state(self, now_s: float) -> str:
        everything = self._progress.sum()
        running = [
            f"{name} {count.done:,}/{count.total:,}"
            for name, count in self._progress.counts.items()
            if count.begun_s is not None and count.row is None
        ]
        parts = [
            f"evaluation {everything.done:,}/{everything.total:,} samples",
            *_speed(everything, now_s),
            ", ".join(running),
        ]
        return " | ".join(parts + [self._progress.used] * bool(self._progress.used))

    def _say(self, text: str) -> None:
        # A run of hours must not end because its reader has gone.
        with suppress(OSError, ValueError):
            self._stream.write(stamped(text))
            self._stream.flush()


class _LiveTable:
    """One rich table that is redrawn a few times a second."""

    def __init__(self, progress: Progress, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._progress = progress
        console = Console(file=stream, force_terminal=True)
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=4, vertical_overflow="visible"
        )

    def open(self) -> None:
        self._live.start()
        self._live.console.show_cursor()  # a process that is killed must not leave its terminal without

    def moved(self) -> None:
        pass

    def pooled(self, pool: PoolState) -> None:
        """Shown with the next drawing, as `finished`."""

    def finished(self, row: Row) -> None:
        """Shown with the next drawing. To draw here, under the lock that drawing takes, could stop both threads."""

    def close(self) -> None:
        self._live.stop()

    def _table(self) -> "Table":
        from rich.table import Table

        table = Table("benchmark")
        for name in ("done/total", "samples/s", "time left", "score"):
            table.add_column(name, justify="right")
        with self._progress.lock:
            now, everything = self._progress.clock(), self._progress.sum()
            if self._progress.pool and everything.done < everything.total:
                table.caption = _pooled(self._progress.pool)
            if self._progress.used:
                table.caption = self._progress.used
            for name, count in self._progress.counts.items():
                table.add_row(
                    count.row.title if count.row else name, *_cells(count, now), score(count.row) if count.row else ""
                )
            table.add_section()
            table.add_row("all", *_cells(everything, now), "")
        return table


def _pooled(pool: PoolState) -> str:
    coming = f"{pool.starting} starting or waiting for room"
    if not pool.ready and not pool.starting:
        coming = "none starting, for the cluster has no room"
    return f"replicas: {pool.ready} ready, {coming}" + (f", {pool.lost} lost" if pool.lost else "")


def _cells(count: Count, now_s: float) -> list[str]:
    """Done and total, samples/s, time left."""
    rate = None if count.row else count.rate(now_s)
    speed = "" if rate is None else f"{rate:.1f}"
    left = "" if rate is None or count.done >= count.total else duration((count.total - count.done) / rate)
    return [f"{count.done:,}/{count.total:,}", speed, left]


def _speed(count: Count, now_s: float) -> list[str]:
    rate = count.rate(now_s)
    return [] if rate is None else [f"{rate:.1f} samples/s", f"{duration((count.total - count.done) / rate)} left"]
