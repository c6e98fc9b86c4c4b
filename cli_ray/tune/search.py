"""What draws the trials of a sweep, and what stops poor ones early."""

from typing import Any

from optuna.samplers import NSGAIISampler, TPESampler
from ray.tune.schedulers import FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from cli_ray.config import RunConfig, SweepConfig
from cli_ray.tune.asha import Asha
from cli_ray.tune.results import direction
from cli_ray.tune.space import ray_space

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
