"""How far an evaluation has come and what it scored, from its output folder alone.

`asked/` says how many items a benchmark has, `records/` holds a line for each that is done, `rows/` the scores of
those that ended. Read by the views and the lists.
"""

import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pyarrow import fs

from cli_ray.evals.suite import SUITES
from cli_ray.storage.folder import Folder

QUIET_S = 600.0
"""An evaluation that stored nothing for so long does not go on: the longest wait is that for a model to load."""


@dataclass(frozen=True)
class BenchmarkProgress:
    """How far a benchmark has come."""

    name: str
    total: int | None
    """Items that were asked; None where nothing says so."""
    done: int
    """Items that have a record."""
    row: dict[str, Any] | None
    """Its row of the table, once it has ended."""

    @property
    def title(self) -> str:
        """For people."""
        return str(self.row["title"]) if self.row else self.name

    @property
    def is_complete(self) -> bool:
        """Whether every item has a record and none is an error."""
        return self.row is not None and bool(self.row.get("complete", True))

    @property
    def score(self) -> str:
        """The headline with its standard error; empty where there is none."""
        if self.row is None or self.row["value"] is None:
            return ""
        error = self.row.get("standard_error")
        return f"{self.row['value']:.2f}" + ("" if error is None else f" ± {error:.2f}")


@dataclass(frozen=True)
class ResultsHistory:
    """An evaluation as its folder tells it."""

    folder: Folder
    model: str
    """As the user named it; empty where that cannot be read."""
    state: Literal["not started", "running", "silent", "ended"]
    time: str
    """In UTC, when the newest record or row was stored; empty without any."""
    benchmarks: list[BenchmarkProgress]

    @property
    def score(self) -> str:
        """The mean of the benchmarks where there is one, or the score of the only one; empty where neither is there."""
        if mean := _object(self.folder, "results.json").get("mean"):
            return f"mean {mean['value']:.2f}"
        scored = [benchmark for benchmark in self.benchmarks if benchmark.score]
        return f"{scored[0].title} {scored[0].score}" if len(scored) == 1 else ""

    @property
    def done(self) -> int:
        """Items of all benchmarks that have a record."""
        return sum(benchmark.done for benchmark in self.benchmarks)


@dataclass
class Counts:
    """What was counted before: a file of records that has grown is read from there on, one of items not again."""

    _known: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By path, the bytes that were read and the lines in them."""
    _totals: dict[tuple[str, int], int] = field(default_factory=dict)
    """By path and time of the last change."""

    def items(self, folder: Folder, name: str, info: fs.FileInfo) -> int | None:
        """The items of a file of `asked/`; None where it is damaged."""
        key = info.path, info.mtime_ns
        if key not in self._totals and (asked := _object(folder, name)):
            self._totals[key] = len(asked["keys"])
        return self._totals.get(key)

    def lines(self, filesystem: fs.FileSystem, info: fs.FileInfo) -> int:
        """The lines of a file."""
        start, count = self._known.get(info.path, (0, 0))
        if info.size > start:
            with filesystem.open_input_file(info.path) as file:
                while data := file.read_at(1 << 22, start):
                    start, count = start + len(data), count + data.count(b"\n")
            self._known[info.path] = start, count
        return count


def read_results(uri: str, counts: Counts | None = None) -> ResultsHistory:
    """The history of an evaluation.

    Args:
        uri: of its output folder: a path or a pyarrow URI.
        counts: of an earlier look at the same folder.
    """
    folder, counts = Folder(uri), counts or Counts()
    config = _object(folder, "config.json")
    # Beside its items in JSON, a benchmark has a table of their pictures.
    asked = [info for info in _files(folder, "asked") if info.base_name.endswith(".json")]
    rows = _files(folder, "rows")
    files = *folder.names("benchmarks"), *(info.base_name for info in (*asked, *rows))
    names = _names(config, [posixpath.splitext(file)[0] for file in files])
    records = {name: _files(folder, f"records/{name}") for name in names}
    benchmarks = [_benchmark(folder, name, asked, records[name], counts) for name in names]
    newest = max((info.mtime for infos in (asked, rows, *records.values()) for info in infos), default=None)
    ended = bool(benchmarks) and all(benchmark.row for benchmark in benchmarks)
    time = "" if newest is None else newest.isoformat(timespec="milliseconds")
    return ResultsHistory(folder, str(config.get("model", "")), _state(newest, ended=ended), time, benchmarks)


def _names(config: dict[str, Any], present: Sequence[str]) -> list[str]:
    """The benchmarks that the last command named, and those that are there."""
    try:
        is_suite = not config["benchmarks"] and not config.get("benchmark_file")
        named = SUITES[config["suite"]] if is_suite else tuple(map(str, config["benchmarks"]))
    except (KeyError, TypeError):  # a half-written folder, or one of another version
        named = ()
    return list(dict.fromkeys([*named, *present]))


def _benchmark(
    folder: Folder, name: str, asked: Sequence[fs.FileInfo], records: Sequence[fs.FileInfo], counts: Counts
) -> BenchmarkProgress:
    row = _object(folder, f"rows/{name}.json") or None
    if row is not None and row.get("complete"):
        return BenchmarkProgress(name, row["n"], row["n_found"], row)
    info = next((info for info in asked if info.base_name == f"{name}.json"), None)
    total = counts.items(folder, f"asked/{name}.json", info) if info else None
    done = sum(counts.lines(folder.fs, info) for info in records)
    # Items that were tried again have several records.
    return BenchmarkProgress(name, total, done if total is None else min(done, total), row)


def _state(newest: datetime | None, *, ended: bool) -> Literal["not started", "running", "silent", "ended"]:
    if ended:
        return "ended"
    if newest is None:
        return "not started"
    return "running" if (datetime.now(UTC) - newest).total_seconds() < QUIET_S else "silent"


def _files(folder: Folder, name: str) -> list[fs.FileInfo]:
    infos: list[fs.FileInfo] = folder.fs.get_file_info(fs.FileSelector(folder.join(name), allow_not_found=True))
    return [info for info in infos if info.type == fs.FileType.File]


def _object(folder: Folder, name: str) -> dict[str, Any]:
    """The object of a JSON file; an empty one where it is absent or damaged."""
    try:
        value = json.loads(folder.read(name) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
