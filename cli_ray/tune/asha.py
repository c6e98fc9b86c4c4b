"""Asynchronous successive halving that goes on where it was, which Ray's does not."""

from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler

from cli_ray.train.run_folder import RunFolder
from cli_ray.tune.trial import validations, whole_lines


class Asha(AsyncHyperBandScheduler):
    """Ray Tune saves trials and search, but no scheduler: one that goes on would compare with new results alone.

    Args:
        runs_dir: holds the run folders of the trials.
        options: of Ray's scheduler.
    """

    def __init__(self, runs_dir: str, **options: Any) -> None:
        super().__init__(**options)
        self._runs_dir = runs_dir

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Recalls what a trial of an earlier start has reported."""
        super().on_trial_add(tune_controller, trial)
        told = trial.last_result.get("step", 0)
        lines = whole_lines(RunFolder(f"{self._runs_dir}/{trial.trial_id}")) if told else []
        for row in validations(lines):
            if row["step"] <= told and row["validation_loss"] is not None:
                self.on_trial_result(tune_controller, trial, row)
