"""Looks at the folder of something that may run elsewhere, one after another. Called by `cli-ray watch`."""

import time
from dataclasses import dataclass

from rich.console import RenderableType

from cli_ray.watch.history import read_run
from cli_ray.watch.kinds import Kind, kind_of
from cli_ray.watch.results import Counts, read_results
from cli_ray.watch.sweeps import read_sweep
from cli_ray.watch.views import results_line, results_view, run_line, run_view, sweep_line, sweep_view


@dataclass(frozen=True)
class Look:
    """What a folder tells at a moment."""

    view: RenderableType
    line: str
    """The same in a line."""
    is_over: bool
    """Whether nothing more will come, unless somebody starts it again."""


class Watch:
    """Looks at one folder again and again, and reads what grows from where it was.

    Raises:
        UserError: at construction, when the folder holds nothing that can be watched.
    """

    def __init__(self, uri: str) -> None:
        self.kind: Kind = kind_of(uri)
        self._uri = uri
        self._counts = Counts()
        self._first: tuple[float, int] | None = None
        """When the first samples of an evaluation were counted, and how many there were."""

    def look(self) -> Look:
        """What the folder tells at this moment."""
        if self.kind == "run":
            run = read_run(self._uri)
            return Look(run_view(run), run_line(run), run.state.name in ("ended", "failed", "stopped"))
        if self.kind == "sweep":
            sweep = read_sweep(self._uri)
            return Look(sweep_view(sweep), sweep_line(sweep), sweep.state == "ended")
        results = read_results(self._uri, self._counts)
        rate = self._rate(results.done)
        return Look(results_view(results, rate), results_line(results, rate), results.state == "ended")

    def _rate(self, done: int) -> float | None:
        """Samples per second since the first look; None at that one."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
            return None
        begun, before = self._first
        return (done - before) / (now - begun)
