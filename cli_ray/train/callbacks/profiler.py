"""Traces some steps with the profiler of torch (`train.profile`), a file a rank in `profile/` of the run folder."""

import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from cli_ray.data.share import Share
from cli_ray.text import say
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics


class Profiler(Callback):
    """Runs on every rank; stands behind the callbacks whose time it shows beside that of the steps.

    A trace that cannot be written is reported, and training goes on. A step that is done again after a restart is
    traced again.

    Args:
        first: step to trace, counted from 1.
        last: step to trace.
    """

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._trace: profile | None = None

    def on_start(self, loop: TrainLoop) -> None:
        self._begin_step(loop)

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        self._end_step()
        if loop.progress.step == self._last:
            self._write(loop)
        self._begin_step(loop)

    def on_end(self, loop: TrainLoop) -> None:
        self._end_step()
        self._write(loop)

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        if self._trace is not None:
            self._trace.stop()

    def _begin_step(self, loop: TrainLoop) -> None:
        step = loop.progress.step + 1
        if not self._first <= step <= self._last or loop.pause or step > loop.total_steps:
            return
        if self._trace is None:
            self._begun = step
            cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self._trace = profile(activities=[ProfilerActivity.CPU, *cuda])
            self._trace.start()
        self._span = record_function(f"step {step}")
        self._span.__enter__()

    def _end_step(self) -> None:
        if self._trace is not None:
            self._span.__exit__(None, None, None)

    def _write(self, loop: TrainLoop) -> None:
        if self._trace is None:
            return
        self._trace.stop()
        name = f"profile/steps-{self._begun}-{loop.progress.step}/rank-{loop.rank}.json.gz"
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "trace.json.gz")
                self._trace.export_chrome_trace(str(path))
                loop.folder.write_bytes(name, path.read_bytes())
        except OSError as error:
            say(f"{name} cannot be written by rank {loop.rank}: {error}; training goes on")
        else:
            if loop.rank == 0:
                say(f"wrote {name}: open it at ui.perfetto.dev")
        self._trace = None
