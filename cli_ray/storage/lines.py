"""Lines of a file that a run adds to while it goes on."""

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from cli_ray.storage.folder import Folder
from cli_ray.text import say


def now() -> str:
    """The time in UTC, as lines of journals hold it: `2026-01-31T23:59:59.123+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_journal(folder: Folder, name: str) -> list[dict[str, Any]]:
    """What the lines of a journal hold; nothing where there is none.

    A line that is being written, or was cut by the death of its writer, is passed over wherever it stands: whoever goes
    on with the run adds lines behind it.
    """
    rows = []
    for line in (folder.read(name) or "").splitlines():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


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
