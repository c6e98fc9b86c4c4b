"""Lines of a file that a run adds to while it goes on."""

import threading
from datetime import UTC, datetime

from cli_ray.storage.folder import Folder
from cli_ray.text import say


def now() -> str:
    """The time in UTC, as lines of journals hold it: `2026-01-31T23:59:59.123+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
