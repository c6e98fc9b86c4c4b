"""A `cli-ray` command as a process of its own, on the cluster of a drill."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cli_ray.drill.site import Site

LOOK_S = 0.05
TAIL = 3000
"""Characters of the output that an error shows."""


class Command:
    """Started at construction.

    Args:
        site: the cluster.
        words: of the command, behind `cli-ray`.
        said: file that takes its output.
        patience_s: what does not happen for so long never does.
    """

    def __init__(self, site: Site, words: list[str], said: Path, patience_s: float) -> None:
        self.site = site
        self._words, self._said, self._patience_s = words, said, patience_s
        self.began = time.monotonic()
        self.start()

    def start(self) -> None:
        """Starts the driver; the same command each time."""
        command = [sys.executable, "-m", "cli_ray", *self._words]
        with self._said.open("a") as said:
            self.driver = subprocess.Popen(
                command, env={**os.environ, "RAY_ADDRESS": self.site.address}, stdout=said, stderr=said
            )

    def until(self, happened: Callable[[], bool]) -> float:
        """Waits for something; seconds.

        Raises:
            RuntimeError: it never happens, as the driver has failed or hangs.
        """
        began = time.monotonic()
        while not happened():
            ended = self.driver.poll() is not None
            if (ended and not happened()) or time.monotonic() - began > self._patience_s:
                what = f"ended with {self.driver.returncode} too early" if ended else "hangs"
                self.driver.kill()
                raise RuntimeError(f"the driver {what}; the end of {self._said}:\n{self._said.read_text()[-TAIL:]}")
            time.sleep(LOOK_S)
        return time.monotonic() - began
