"""Evaluates checkpoints of a run while it trains: a thread of the driver, on what the cluster has left.

Entered by `trainer.train`. The one place of training that calls `cli_ray.evals`.
"""

import shutil
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import ray

from cli_ray.config import EvaluationConfig, RunConfig
from cli_ray.errors import UserError
from cli_ray.evals.items.survey import require
from cli_ray.evals.run import evaluate
from cli_ray.evals.suite import chosen
from cli_ray.text import NOTHING, duration, say
from cli_ray.train.callbacks.evaluations import COMPLETE, is_due, join_results, name_of, scores_of
from cli_ray.train.checkpoint.export import export
from cli_ray.train.checkpoint.files import complete_checkpoints
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import RunFolder

POLL_S = 2.0


class Evaluator:
    """Evaluates checkpoints as they appear; leaving its `with` waits for the last of them.

    Replicas start only where training leaves room; where it leaves none they start when it has ended. A failed
    evaluation is reported and does not stop training.

    Raises:
        UserError: at construction, when the run folder is on no mounted filesystem, which models are exported to, or
            when benchmarks or their data are not there.
    """

    def __init__(self, config: RunConfig, folder: RunFolder) -> None:
        if config.evaluation.every and not folder.is_local:
            raise UserError(
                f"evaluation.every = {config.evaluation.every} needs a run folder on a mounted filesystem, not "
                f"{folder.uri}: set evaluation.every = 0 and run `cli-ray eval` on exported checkpoints"
            )
        if config.evaluation.every:
            settings = config.evaluation
            require(
                chosen(settings.suite, settings.benchmarks, files=settings.benchmark_file, prompts=settings.prompts),
                settings.data_root,
                settings.miniature,
                settings.limit,
                allow_partial=settings.allow_partial,
            )
        self._config, self._folder = config, folder
        self._over = threading.Event()
        self._failed: set[int] = set()
        self._reported = ""
        self.results: list[Metrics] = []
        """Of evaluations that ended after the training."""
        self._thread = threading.Thread(target=self._watch, name="evaluator", daemon=True)

    def __enter__(self) -> Self:
        if self._config.evaluation.every:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._config.evaluation.every and error is None:
            self._thread.join()
            self.results = join_results(self._folder)

    def _watch(self) -> None:
        while not self._turn(over=self._over.is_set()):
            self._over.wait(POLL_S)

    def _turn(self, *, over: bool) -> bool:
        """Evaluates what is due; whether that was the last of it."""
        try:
            for step in self._due(over):
                self._evaluate(step)
        except Exception as error:  # reported, and tried again: training goes on and deletes checkpoints
            reason = f"{type(error).__name__}: {error}"
            if over:
                self._folder.event("evaluation failed", reason=reason)
            if reason != self._reported:
                self._reported = reason
                say(f"looking for checkpoints to evaluate failed: {reason}")
        return over

    def _due(self, over: bool) -> list[int]:
        steps = [checkpoint.progress.step for checkpoint in complete_checkpoints(self._folder)]
        last = steps[-1:] if over else []
        return [
            step
            for step in steps
            if (step in last or is_due(step, self._config))
            and step not in self._failed
            and not self._folder.exists(f"{name_of(step)}/{COMPLETE}")
        ]

    def _evaluate(self, step: int) -> None:
        output = Path(self._folder.join(name_of(step)))
        model = output / "model"
        begun = time.monotonic()
        self._folder.event("evaluation started", step=step)
        say(f"evaluation of step {step:,} started")
        try:
            if not model.exists():
                # Said outright, it leads out of the placement group that Ray Tune gives to the driver of a trial.
                task = ray.remote(export).options(scheduling_strategy="DEFAULT")
                ray.get(task.remote(self._folder.uri, model, step, best=False, keep_lora=False))
            settings = self._config.evaluation.model_dump(exclude={"every"})
            evaluate(EvaluationConfig(model=str(model), output=str(output), **settings), live=False, spare_only=True)
            self._folder.write(f"{name_of(step)}/{COMPLETE}", "")
            shutil.rmtree(model)
        except Exception as error:  # reported, and training goes on
            self._failed.add(step)
            self._folder.event("evaluation failed", step=step, reason=str(error))
            say(f"evaluation of step {step:,} failed: {error}")
        else:
            seconds = round(time.monotonic() - begun, 3)
            scores = scores_of(step, self._folder)
            self._folder.event("evaluation", step=step, path=name_of(step), scores=scores, seconds=seconds)
            told = ", ".join(f"{name} {NOTHING if value is None else f'{value:.2f}'}" for name, value in scores.items())
            say(f"evaluation of step {step:,}: {told}, took {duration(seconds)}")
