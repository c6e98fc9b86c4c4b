"""The training loop of one rank. Everything beside the step itself is a callback."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from cli_ray.config import RunConfig
from cli_ray.data.collate import MicroBatch
from cli_ray.data.stream import Stream
from cli_ray.train.engine import Engine
from cli_ray.train.folder import RunFolder
from cli_ray.train.heartbeat import Heartbeat
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
    heartbeat: Heartbeat
    total_steps: int
    rank: int
    world_size: int
    progress: Progress = field(default_factory=Progress)
    validation_loss: float | None = None
    stopped: str | None = None
    """Why the run stops after this step, the same on every rank."""

    def fit(self) -> Progress:
        """Trains from `progress` to `total_steps`, or to the step at which the driver asks for a stop."""
        try:
            for callback in self.callbacks:
                callback.on_start(self)
            while self.progress.step < self.total_steps and not self.stopped:
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
        start = self._wait_for_data()
        for batches in steps:
            self._train_step(batches, data_wait_ms=(time.perf_counter() - start) * 1e3)
            if self.progress.step == self.total_steps or self.stopped:
                break
            start = self._wait_for_data()

    def _wait_for_data(self) -> float:
        self.heartbeat.step = self.progress.step + 1
        self.heartbeat.at("data", self.stream.awaited)
        return time.perf_counter()

    def _train_step(self, batches: list[MicroBatch], data_wait_ms: float) -> None:
        start = time.perf_counter()
        factor = lr_factor(self.progress.step, self.total_steps, self.config.optim)
        self.heartbeat.at("step")
        result = self.engine.train_step(batches, factor, partial(self.heartbeat.at, "step"))
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
        self.stopped = agreed_stop(self)
        for callback in self.callbacks:
            self.heartbeat.at("callback", type(callback).__name__)
            callback.on_step(self, batches, metrics)


def agreed_stop(loop: TrainLoop) -> str | None:
    """Why to stop, when any rank has been asked to. All ranks decide the same at the same step."""
    asked = loop.heartbeat.stop_reason
    agreed = loop.engine.all_reduce(torch.tensor([float(asked is not None)]), dist.ReduceOp.MAX).item()
    return (asked or "another rank was asked to stop") if agreed else None
