"""What came of a sweep: its trials in order, the best ones, and which hyperparameters mattered.

Called by the driver of the sweep, which writes these results, and by `cli-ray tune`, which prints them.
"""

import io
import json
import math
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import optuna
import pyarrow as pa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial
from pyarrow import parquet
from pydantic import BaseModel

from cli_ray.config import Domain, SweepConfig
from cli_ray.config.sweep import direction
from cli_ray.tune.space import Draw

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs a line for every study that is created

LEAST_TRIALS = 10
"""Finished trials below which no importance is computed."""
COMPUTED = ("added_parameters",)
"""Objectives that are arithmetic on the config: which hyperparameters they depend on is known without a trial."""

State = Literal["finished", "stopped", "failed"]
STATES: tuple[State, ...] = get_args(State)


class TrialResult(BaseModel):
    """What came of one trial."""

    trial: str
    state: State
    """`stopped` early, by the scheduler."""
    step: int
    values: dict[str, float]
    """By objective; those of a stopped trial are of its last step, a failed one may lack some."""
    draw: Draw
    reason: str = ""
    """Why it failed."""


def ranked(sweep: SweepConfig, results: Sequence[TrialResult]) -> list[TrialResult]:
    """Finished trials before stopped and failed ones; among equals the best in the first objective first."""
    objective = sweep.objectives[0]
    sign = -1 if direction(objective) == "maximize" else 1

    def key(result: TrialResult) -> tuple[int, float, str]:
        return STATES.index(result.state), sign * result.values.get(objective, sign * math.inf), result.trial

    return sorted(results, key=key)


def front(sweep: SweepConfig, results: Sequence[TrialResult]) -> list[TrialResult]:
    """The Pareto front: finished trials that no other trial beats in all objectives, best in the first one first.

    With a single objective the best trial alone; empty when no trial has finished.
    """
    study, finished = _study(sweep, results)
    if not finished:
        return []
    best = ranked(sweep, [finished[trial.number] for trial in study.best_trials])
    return best if len(sweep.objectives) > 1 else best[:1]


def importance(sweep: SweepConfig, results: Sequence[TrialResult]) -> dict[str, dict[str, float]]:
    """By objective, the share of each hyperparameter in what set the best trials apart (PED-ANOVA, arXiv 2304.10255).

    Empty below `LEAST_TRIALS` finished trials, and without objectives that are `COMPUTED`.
    """
    study, finished = _study(sweep, results)
    if len(finished) < LEAST_TRIALS:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()

    def shares(number: int) -> dict[str, float]:
        # The evaluator takes the lowest values for the best ones and warns that it does.
        sign = -1 if direction(sweep.objectives[number]) == "maximize" else 1
        return optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=lambda trial: sign * float(trial.values[number])
        )

    with warnings.catch_warnings(action="ignore", category=UserWarning):
        measured = [(number, name) for number, name in enumerate(sweep.objectives) if name not in COMPUTED]
        return {objective: shares(number) for number, objective in measured}


def to_parquet(sweep: SweepConfig, results: Sequence[TrialResult]) -> bytes:
    """The results as a Parquet file: a column per objective and per hyperparameter, drawn values as JSON."""
    rows = [
        {
            **result.model_dump(include={"trial", "state", "step", "reason"}),
            **{objective: result.values.get(objective) for objective in sweep.objectives},
            **{field: json.dumps(result.draw[field]) for field in sweep.domains},
        }
        for result in results
    ]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def _study(sweep: SweepConfig, results: Sequence[TrialResult]) -> tuple[optuna.Study, list[TrialResult]]:
    """The finished trials that have all objectives as an Optuna study, and their results in its order."""
    study = optuna.create_study(directions=[direction(objective) for objective in sweep.objectives])
    finished = [
        result for result in results if result.state == "finished" and set(sweep.objectives) <= set(result.values)
    ]
    distributions = {field: _distribution(domain) for field, domain in sweep.domains.items()}
    for result in finished:
        values = [result.values[objective] for objective in sweep.objectives]
        study.add_trial(create_trial(params=result.draw, distributions=distributions, values=values))
    return study, finished


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.choice:
        return CategoricalDistribution(list(domain.labels))
    if domain.integers:
        return IntDistribution(*domain.integers)
    if domain.log_uniform:
        return FloatDistribution(*domain.log_uniform, log=True)
    assert domain.uniform
    return FloatDistribution(*domain.uniform)
