"""Files of JSON lines that processes add to while they go on, and may die in the middle of a line.

events.jsonl, metrics.jsonl and the quarantine of a run are written through `Journal`. Every reader of such a file, and
of those of sweeps, drills and evaluations, uses `json_lines`, so that one rule holds for a line that a crash cut.
"""

import json
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from pyarrow import NativeFile

from cli_ray.storage.folder import Folder
from cli_ray.text import say


def json_lines(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines.

    A line that is no JSON object is passed over: its writer died before its end, or is writing it at this moment.
    """
    for line in lines:
        if (row := json_line(line)) is not None:
            yield row


def json_line(line: str | bytes) -> dict[str, Any] | None:
    """The object of one JSON line; None where it was cut, see `json_lines`."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def now() -> str:
    """The time in UTC, as lines of journals hold it: `2026-01-31T23:59:59.123+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_journal(folder: Folder, name: str) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, see `json_lines`; none when it is absent."""
    return list(json_lines((folder.read(name) or "").split("\n")))


def stream_journal(folder: Folder, name: str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines one by one, in flat memory; none when it is absent."""
    try:
        with folder.fs.open_input_stream(folder.join(name)) as file:
            yield from json_lines(split_lines(file))
    except FileNotFoundError:
        return


def journal_end(folder: Folder, name: str, size: int = 1 << 18) -> list[dict[str, Any]]:
    """The objects of the last lines of a file of JSON lines; none when it is absent.

    Args:
        size: bytes to read at most; a line that begins before them is left out.
    """
    try:
        with folder.fs.open_input_file(folder.join(name)) as file:
            length = file.size()
            lines = file.read_at(size, max(0, length - size)).split(b"\n")
    except FileNotFoundError:
        return []
    return list(json_lines(lines))  # the first one, cut at its beginning, is no JSON


def split_lines(file: NativeFile) -> Iterator[bytes]:
    """The lines of a file one by one, in flat memory; the last one, perhaps empty, has no end."""
    rest = b""
    while data := file.read(1 << 20):
        *lines, rest = (rest + bytes(data)).split(b"\n")
        yield from lines
    yield rest


class Journal:
    """Adds lines to a file, and keeps them while the storage fails, so that a full disk does not end a run."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self._kept: list[str] = []
        self._lock = threading.Lock()

    def add(self, *lines: str) -> None:
        """Writes lines, and those kept from before."""
        with self._lock:
            failed_before = bool(self._kept)
            self._kept += lines
            try:
                self._write()
            except OSError as error:
                if not failed_before:
                    say(f"{self._name} of {self._folder.uri} cannot be written: {error}; its lines wait in memory")

    def close(self) -> None:
        """Writes what was kept.

        Raises:
            OSError: the storage still fails.
        """
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._kept:
            self._folder.append(self._name, self._kept)
            self._kept = []
