"""What came of the trials of a sweep: a row each, the best, the front, and which hyperparameters mattered."""

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
from cli_ray.config.sweep import ARM
from cli_ray.tune.space import Draw

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study that is made

LEAST_TRIALS = 10
"""Finished trials below which nothing is said about importance."""
COMPUTED = ("added_parameters",)
"""Objectives that are arithmetic on the config: which hyperparameters they hang on is known without a trial."""

State = Literal["finished", "stopped", "failed"]
STATES: tuple[State, ...] = get_args(State)


class Record(BaseModel):
    """One trial."""

    trial: str
    state: State
    """`stopped` early, by the scheduler."""
    step: int
    values: dict[str, float]
    """By objective; those of a stopped trial are of its last step, a failed one may lack some."""
    draw: Draw
    reason: str = ""
    """Why it failed."""


def direction(objective: str) -> Literal["minimize", "maximize"]:
    """Whether an objective is the better the lower or the higher."""
    return "maximize" if objective.startswith("eval/") else "minimize"


def ranked(sweep: SweepConfig, records: Sequence[Record]) -> list[Record]:
    """Finished trials before stopped and failed ones; among equals the best in the first objective first."""

    def key(one: Record) -> tuple[int, float, str]:
        value = one.values.get(sweep.objectives[0], math.inf)
        return STATES.index(one.state), -value if direction(sweep.objectives[0]) == "maximize" else value, one.trial

    return sorted(records, key=key)


def study_of(sweep: SweepConfig, records: Sequence[Record]) -> tuple[optuna.Study, list[Record]]:
    """The finished trials as an Optuna study, and their records in its order."""
    study = optuna.create_study(directions=[direction(one) for one in sweep.objectives])
    finished = [one for one in records if one.state == "finished" and set(sweep.objectives) <= set(one.values)]
    distributions = {field: _distribution(domain) for field, domain in domains(sweep).items()}
    for one in finished:
        values = [one.values[objective] for objective in sweep.objectives]
        study.add_trial(create_trial(params=one.draw, distributions=distributions, values=values))
    return study, finished


def domains(sweep: SweepConfig) -> dict[str, Domain]:
    """What each hyperparameter is drawn from, the arms among them."""
    return sweep.space | ({ARM: Domain(choice=tuple(sweep.arms))} if sweep.arms else {})


def front(sweep: SweepConfig, records: Sequence[Record]) -> list[Record]:
    """The trials that no other one beats in all objectives, best in the first one first; a single one for one."""
    study, finished = study_of(sweep, records)
    if not finished:
        return []
    best = ranked(sweep, [finished[one.number] for one in study.best_trials])
    return best if len(sweep.objectives) > 1 else best[:1]


def importance(sweep: SweepConfig, records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """By objective, the share of each hyperparameter in what set the best trials apart (PED-ANOVA, arXiv 2304.10255).

    Empty below `LEAST_TRIALS` finished trials, and without objectives that are `COMPUTED`.
    """
    study, finished = study_of(sweep, records)
    if len(finished) < LEAST_TRIALS:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()

    def share(number: int) -> dict[str, float]:
        sign = -1 if direction(sweep.objectives[number]) == "maximize" else 1  # it looks for what is low
        return optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=lambda trial: sign * float(trial.values[number])
        )

    with warnings.catch_warnings(action="ignore", category=UserWarning):  # which says that it looks for what is low
        measured = [(number, one) for number, one in enumerate(sweep.objectives) if one not in COMPUTED]
        return {objective: share(number) for number, objective in measured}


def to_parquet(sweep: SweepConfig, records: Sequence[Record]) -> bytes:
    """The records as a Parquet file: a column per objective and per hyperparameter, drawn values as JSON."""
    rows = [
        {
            **one.model_dump(include={"trial", "state", "step", "reason"}),
            **{objective: one.values.get(objective) for objective in sweep.objectives},
            **{field: json.dumps(one.draw[field]) for field in domains(sweep)},
        }
        for one in records
    ]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.choice:
        return CategoricalDistribution(list(domain.labels))
    if domain.integers:
        return IntDistribution(*domain.integers)
    if domain.log_uniform:
        return FloatDistribution(*domain.log_uniform, log=True)
    assert domain.uniform
    return FloatDistribution(*domain.uniform)
