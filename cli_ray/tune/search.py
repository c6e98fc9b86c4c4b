"""What draws the trials of a sweep, and what stops poor ones early.

Asynchronous successive halving that goes on where it was, which Ray's does not.
"""

from typing import Any

from optuna.samplers import NSGAIISampler, TPESampler
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from cli_ray.config import RunConfig, SweepConfig
from cli_ray.train.run_folder import RunFolder
from cli_ray.tune.results import direction
from cli_ray.tune.space import ray_space
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


SAMPLERS = {"tpe": TPESampler, "nsga2": NSGAIISampler}
"""Of Optuna, by the name of the search; Ray Tune draws for the others."""
NEVER = 10**9
"""Steps; a run ends by itself."""


class Optuna(OptunaSearch):
    """Hears of ends alone. Reports on the way are for its pruners, which are not used, and may lack the objective: a
    benchmark is known after its checkpoint was evaluated."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing to do."""


def searcher(config: SweepConfig, at_once: int) -> Searcher | SearchAlgorithm:
    """What draws trials. Ray Tune holds back those of Optuna, and lets Ray's own draw no more than it is told."""
    if config.search not in SAMPLERS:
        return BasicVariantGenerator(random_state=config.seed, constant_grid_search=True, max_concurrent=at_once)
    modes = [direction(one)[:3] for one in config.objectives]
    several = len(modes) > 1
    return Optuna(
        metric=list(config.objectives) if several else config.objectives[0],
        mode=modes if several else modes[0],
        sampler=SAMPLERS[config.search](seed=config.seed),
    )


def scheduler(config: SweepConfig, base: RunConfig) -> TrialScheduler:
    """What stops trials early."""
    first = {"time_attr": "step", "metric": config.objectives[0], "mode": direction(config.objectives[0])[:3]}
    if config.scheduler == "asha":
        grace = config.asha.grace_steps or base.validation.every
        return Asha(base.runs_dir, **first, max_t=NEVER, grace_period=grace, reduction_factor=config.asha.reduction)
    if config.scheduler == "pbt":
        interval = config.pbt.interval_steps or base.checkpoint.every
        drawn_from = ray_space(config) | {field: list(one.labels) for field, one in config.space.items() if one.choice}
        return PopulationBasedTraining(
            **first, perturbation_interval=interval, hyperparam_mutations=drawn_from, require_attrs=False
        )
    return FIFOScheduler()
