"""How a sweep searches: what draws its trials, and what stops poor ones early. Called by the driver of the sweep."""

from typing import Any

from optuna.samplers import NSGAIISampler, TPESampler
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from cli_ray.config import RunConfig, SweepConfig
from cli_ray.config.sweep import direction
from cli_ray.train.run_folder import RunFolder
from cli_ray.tune.space import ray_space
from cli_ray.tune.trial import complete_lines, validations

SAMPLERS = {"tpe": TPESampler, "nsga2": NSGAIISampler}
"""Of Optuna, by the name of the search; Ray Tune draws for the others."""
NO_LIMIT = 10**9
"""Steps after which ASHA would end every trial; a run knows its own end."""


def searcher(config: SweepConfig, at_once: int) -> Searcher | SearchAlgorithm:
    """What draws trials, `at_once` of them at a time.

    Ray Tune itself limits those that Optuna draws, see `max_concurrent_trials`; its own generator limits itself.
    """
    if config.search not in SAMPLERS:
        return BasicVariantGenerator(random_state=config.seed, constant_grid_search=True, max_concurrent=at_once)
    modes = [direction(objective)[:3] for objective in config.objectives]
    several = len(modes) > 1
    return Optuna(
        metric=list(config.objectives) if several else config.objectives[0],
        mode=modes if several else modes[0],
        sampler=SAMPLERS[config.search](seed=config.seed),
    )


def scheduler(config: SweepConfig, base: RunConfig) -> TrialScheduler:
    """What stops trials early.

    Args:
        config: the sweep.
        base: the run that trials change, whose steps between validations and checkpoints are the defaults.
    """
    shared = {"time_attr": "step", "metric": config.objectives[0], "mode": direction(config.objectives[0])[:3]}
    if config.scheduler == "asha":
        grace = config.asha.grace_steps or base.validation.every
        return Asha(base.runs_dir, **shared, max_t=NO_LIMIT, grace_period=grace, reduction_factor=config.asha.reduction)
    if config.scheduler == "pbt":
        interval = config.pbt.interval_steps or base.checkpoint.every
        choices = {field: list(domain.labels) for field, domain in config.space.items() if domain.choice}
        return PopulationBasedTraining(
            **shared,
            perturbation_interval=interval,
            hyperparam_mutations=ray_space(config) | choices,
            require_attrs=False,
        )
    return FIFOScheduler()


class Asha(AsyncHyperBandScheduler):
    """Asynchronous successive halving (arXiv 1810.05934) that knows the results of earlier starts of the sweep.

    Ray Tune 2.60 saves trials and search, but no scheduler: a sweep that goes on would compare with new results alone.

    Args:
        runs_dir: holds the run folders of the trials.
        options: of Ray's scheduler.
    """

    def __init__(self, runs_dir: str, **options: Any) -> None:
        super().__init__(**options)
        self._runs_dir = runs_dir

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Reads again from its metrics what a trial of an earlier start has reported."""
        super().on_trial_add(tune_controller, trial)
        last_step = trial.last_result.get("step", 0)
        lines = complete_lines(RunFolder(f"{self._runs_dir}/{trial.trial_id}")) if last_step else []
        for row in validations(lines):
            if row["step"] <= last_step and row["validation_loss"] is not None:
                self.on_trial_result(tune_controller, trial, row)


class Optuna(OptunaSearch):
    """Ray Tune's adapter of Optuna, without reports on the way.

    Those are for Optuna's pruners, which are not used, and may lack the objective: a benchmark is known only after its
    checkpoint was evaluated.
    """

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing to do."""
