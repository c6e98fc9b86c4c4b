"""The training loop of one rank, and the hooks of all that happens beside the step itself.

Built and run by `worker`; the step is `engine`'s, the callbacks are listed in `callbacks/__init__.py`.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from cli_ray.config import RunConfig
from cli_ray.data.share import Share
from cli_ray.data.stream import Stream
from cli_ray.train.checkpoint.files import Progress
from cli_ray.train.engine import Engine
from cli_ray.train.health.faults import refuse_non_finite
from cli_ray.train.health.heartbeat import Heartbeat
from cli_ray.train.metrics import Metrics, step_metrics
from cli_ray.train.rank_table import RankTable, Timing
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.schedule import lr_factor

Pause = Literal["stopped", "preempted"]
"""The driver asked to stop, or a node is about to be taken away."""
LEAST_S = 1e-3
"""What takes less beside the steps is not told."""


@dataclass
class TrainLoop:
    """The state of a run on one rank, which callbacks see."""

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
    loss: float | None = None
    """Of the step that was logged last."""
    validation_loss: float | None = None
    validated: float | None = None
    """The validation loss where the newest step was validated."""
    results: Sequence[Metrics] = ()
    """Evaluations whose results came with the newest step, on rank 0."""
    votes: dict[str, int] = field(default_factory=dict)
    """Sums over the ranks of what callbacks voted in the newest step."""
    pause: Pause | None = None
    """Set to end after the present step."""
    share: Share = field(default_factory=Share)
    """Of this rank, of the newest step."""
    ranks: RankTable | None = None
    """What each rank did in the step that was logged last."""
    _beside_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of each callback, and of the metrics, since the step that was logged last."""

    def fit(self) -> Progress:
        """Trains from `progress` to `total_steps`, or to a pause."""
        try:
            for callback in self.callbacks:
                callback.on_start(self)
            self._train()
            for callback in self.callbacks:
                callback.on_end(self)
        except BaseException as error:
            # No collectives here: the other ranks may be elsewhere.
            for callback in self.callbacks:
                callback.on_error(self, error)
            raise
        return self.progress

    def _train(self) -> None:
        steps = iter(self.stream)
        while self.progress.step < self.total_steps and not self.pause:
            self.share = Share()
            self.heartbeat.step = self.progress.step + 1
            self.heartbeat.at("data", self.stream.awaited)
            start = time.perf_counter()
            self.share = next(steps)
            self._train_step(self.share, data_wait_ms=(time.perf_counter() - start) * 1e3)

    def _train_step(self, share: Share, data_wait_ms: float) -> None:
        start, step = time.perf_counter(), self.progress.step
        votes = {name: vote for callback in self.callbacks for name, vote in callback.vote(self).items()}
        factor = lr_factor(step, self.total_steps, self.config.optim)
        self.heartbeat.at("step")
        self.engine.clock.reset()
        result = self.engine.train_step(share, step, factor, list(votes.values()), partial(self.heartbeat.at, "step"))
        rank_wait_ms = self.engine.clock.read_ms()
        timing = Timing(data_wait_ms, (time.perf_counter() - start) * 1e3, rank_wait_ms)
        if self.config.train.stop_on_nan:
            refuse_non_finite(result, step + 1)
        self.votes = dict(zip(votes, result.votes, strict=True))
        self.progress = self.progress.after_step(
            result.samples, result.tokens, result.bad_samples, result.shrunk_images
        )
        metrics: Metrics | None = None
        if self.progress.step % self.config.log.every == 0 or self.progress.step == self.total_steps:
            begun = time.perf_counter()
            self.ranks = RankTable.gather(self.engine, share, result.forwards, timing, self.stream.take_reads())
            metrics = {
                **self.progress.model_dump(),
                "epoch": self.stream.epoch,
                **step_metrics(self.engine, result, self.ranks),
                **self._beside(),
            }
            self.loss = metrics["loss"]
            self._beside_s["metrics"] += time.perf_counter() - begun
        for callback in self.callbacks:
            name, begun = type(callback).__name__, time.perf_counter()
            self.heartbeat.at("callback", name)
            callback.on_step(self, share, metrics)
            self._beside_s[name] += time.perf_counter() - begun

    def _beside(self) -> Metrics:
        """What took this rank time between its steps since the one that was logged before, and the slowest shard."""
        times = {f"beside_ms/{name}": seconds * 1e3 for name, seconds in self._beside_s.items() if seconds > LEAST_S}
        self._beside_s.clear()
        shard = self.ranks.slowest_shard if self.ranks else None
        return times if shard is None else {**times, "slowest_shard": self.stream.shards[shard]}


class Callback:
    """One concern beside the training step.

    Callbacks run in the order of their list. Those that use collectives are given to every rank,
    those that only write to rank 0.
    """

    def on_start(self, loop: TrainLoop) -> None:
        """Before the first step, after a checkpoint was restored."""

    def vote(self, loop: TrainLoop) -> dict[str, int]:
        """Before a step: numbers whose sums over the ranks are in `loop.votes` after it.

        They travel with what the step reduces anyway. Every rank gives the same names, at every step.
        """
        return {}

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        """After an optimiser step; `metrics` is None between log lines."""

    def on_end(self, loop: TrainLoop) -> None:
        """After the last step, or the last before the run pauses."""

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        """After an exception, before it is raised again; must not use collectives."""
