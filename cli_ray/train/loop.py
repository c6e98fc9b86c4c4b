"""The training loop of one rank. Everything beside the step itself is a callback."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli_ray.config import RunConfig
from cli_ray.data.collate import MicroBatch
from cli_ray.data.stream import Stream
from cli_ray.train.engine import Engine
from cli_ray.train.folder import RunFolder
from cli_ray.train.metrics import Metrics, Timing, step_metrics
from cli_ray.train.progress import Progress
from cli_ray.train.schedule import lr_factor

if TYPE_CHECKING:
    from cli_ray.train.callbacks.callback import Callback


@dataclass
class TrainLoop:
    """State that callbacks see."""

    config: RunConfig
    engine: Engine
    stream: Stream
    folder: RunFolder
    callbacks: Sequence["Callback"]
    total_steps: int
    rank: int
    world_size: int
    progress: Progress = field(default_factory=Progress)
    validation_loss: float | None = None

    def fit(self) -> Progress:
        """Trains from `progress` to `total_steps`."""
        try:
            for callback in self.callbacks:
                callback.on_start(self)
            while self.progress.step < self.total_steps:
                self._train_epoch()
            for callback in self.callbacks:
                callback.on_end(self)
        except BaseException as error:
            # No collectives here: the other ranks may be elsewhere.
            for callback in self.callbacks:
                callback.on_error(self, error)
            raise
        return self.progress

    def _train_epoch(self) -> None:
        """Trains to the end of the epoch or of the run."""
        steps = self.stream.iterate(self.progress.epoch, self.progress.epoch_step)
        start = time.perf_counter()
        for batches in steps:
            self._train_step(batches, data_wait_ms=(time.perf_counter() - start) * 1e3)
            if self.progress.step == self.total_steps:
                break
            start = time.perf_counter()

    def _train_step(self, batches: list[MicroBatch], data_wait_ms: float) -> None:
        start = time.perf_counter()
        factor = lr_factor(self.progress.step, self.total_steps, self.config.optim)
        result = self.engine.train_step(batches, factor)
        timing = Timing(data_wait_ms, (time.perf_counter() - start) * 1e3)
        self.progress = self.progress.after_step(
            result.samples, result.tokens, result.bad_samples, self.stream.steps_per_epoch
        )
        metrics: Metrics | None = None
        if self.progress.step % self.config.log.every == 0 or self.progress.step == self.total_steps:
            metrics = {
                **self.progress.model_dump(exclude={"epoch_step"}),
                **step_metrics(self.engine, batches, result, timing),
            }
        for callback in self.callbacks:
            callback.on_step(self, batches, metrics)
