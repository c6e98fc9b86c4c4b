"""A training run as a process of its own, started the way users start it, and the files that it writes.

The drill starts each run as a `Job`, and follows it by its `RunFiles`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import read_journal

LOOK_S = 0.05
"""Seconds between looks at the files of a run."""
TAIL = 3000
"""Characters of the output that an error shows."""


class JobError(RuntimeError):
    """A run ended too early, or hangs; the message holds the end of its output."""


class Job:
    """`cli-ray train` on a cluster, started at construction; its `with` leaves no driver behind.

    Args:
        words: of the command, behind `cli-ray train`.
        runs_dir: where the run folder and the output go.
        name: of the run folder.
        address: of the Ray cluster.
        patience_s: a run whose folder shows no sign of life for so long hangs.
    """

    def __init__(self, words: Sequence[str], runs_dir: Path, name: str, address: str, patience_s: float) -> None:
        place = ["--name", name, "--runs-dir", str(runs_dir)]
        self._command = [sys.executable, "-m", "cli_ray", "train", *words, *place]
        self._environment = {**os.environ, "RAY_ADDRESS": address}
        self._patience_s = patience_s
        self.files = RunFiles(runs_dir / name)
        self.output = runs_dir / f"{name}.log"
        self.began = time.monotonic()
        self.start()

    def start(self) -> None:
        """Starts the driver; the same command each time."""
        with self.output.open("a") as output:
            self.driver = subprocess.Popen(self._command, env=self._environment, stdout=output, stderr=output)

    def until(self, happened: Callable[[], bool]) -> float:
        """Waits for something; seconds since the start of the first driver.

        Raises:
            JobError: it never happens, as the driver has ended or the run hangs.
        """
        size, changed = -1, time.monotonic()
        while not happened():
            if self.driver.poll() is not None and not happened():
                raise JobError(f"the run ended with exit code {self.driver.returncode}; {self._tail()}")
            if self.files.bytes != size:
                size, changed = self.files.bytes, time.monotonic()
            if time.monotonic() - changed > self._patience_s:
                raise JobError(f"the run gave no sign of life for {self._patience_s:.0f} s; {self._tail()}")
            time.sleep(LOOK_S)
        return time.monotonic() - self.began

    def ended(self) -> bool:
        """Whether the driver has ended well."""
        return self.driver.poll() == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """Ends the driver at once, if it has not ended yet."""
        self.driver.kill()
        self.driver.wait()

    def _tail(self) -> str:
        return f"the end of {self.output}:\n{self.output.read_text(errors='replace')[-TAIL:]}"


@dataclass(frozen=True)
class RunFiles:
    """The files of a run folder, read while the run writes to them."""

    folder: Path

    @property
    def losses(self) -> list[tuple[int, float | None]]:
        """Step and loss of each logged step, in the order they were written."""
        return [(row["step"], row["loss"]) for row in self._rows("metrics.jsonl") if "loss" in row]

    @property
    def step(self) -> int:
        """The last logged step; 0 before the first one."""
        return max((step for step, _ in self.losses), default=0)

    @property
    def starts(self) -> list[int]:
        """The step that each start of the workers began after: 0, or that of a checkpoint."""
        events = self._rows("events.jsonl")
        return [_step(event["checkpoint"]) for event in events if event["event"] == "begin"]

    @property
    def bytes(self) -> int:
        """Size of both files, which changes with every sign of life."""
        files = (self.folder / name for name in ("metrics.jsonl", "events.jsonl"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return read_journal(Folder(str(self.folder)), name)


def _step(checkpoint: str | None) -> int:
    """The step in the name of a checkpoint, such as `checkpoints/step-00000025`."""
    return int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0
