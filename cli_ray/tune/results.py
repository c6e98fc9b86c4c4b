"""What came of the trials of a sweep: a row each, the best, the front, and which hyperparameters mattered.

Figures of a sweep, as SVG.
"""

import io
import json
import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import matplotlib as mpl
import optuna
import pyarrow as pa
from matplotlib.figure import Figure
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


COLORS = {"finished": "#1f77b4", "stopped": "#b0b0b0"}
PANEL = (3.2, 2.8)
"""Inches."""


def draw_figures(
    config: SweepConfig, records: Sequence[Record], best: Sequence[Record], shares: dict[str, dict[str, float]]
) -> dict[str, bytes]:
    """By name: `trials` (each objective over each hyperparameter), and where there is anything to show `importance`
    and `front` (the first two objectives against each other)."""
    figures = {"trials": trials_figure(config, records)}
    if shares:
        figures["importance"] = importance_figure(shares)
    if len(config.objectives) > 1:
        figures["front"] = front_figure(config, records, best)
    return {name: _svg(figure) for name, figure in figures.items()}


def trials_figure(config: SweepConfig, records: Sequence[Record]) -> Figure:
    """A panel per objective (rows) and hyperparameter (columns)."""
    fields = domains(config)
    rows, columns = len(config.objectives), len(fields)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, objective in zip(panels, config.objectives, strict=True):
        for panel, (field, domain) in zip(row, fields.items(), strict=True):
            for state, color in COLORS.items():
                shown = [one for one in records if one.state == state and objective in one.values]
                places = [_place(domain, one.draw[field]) for one in shown]
                panel.scatter(places, [one.values[objective] for one in shown], color=color, s=18, label=state)
            _scale(panel, domain)
            panel.set_xlabel(field)
        row[0].set_ylabel(objective)
    panels[0][0].legend(fontsize="small")
    return figure


def importance_figure(shares: dict[str, dict[str, float]]) -> Figure:
    """A panel of bars per objective."""
    figure = Figure(figsize=(2 * PANEL[0], PANEL[1] * len(shares)), layout="constrained")
    for panel, (objective, share) in zip(
        figure.subplots(len(shares), squeeze=False)[:, 0], shares.items(), strict=True
    ):
        ordered = sorted(share.items(), key=lambda item: item[1])
        panel.barh([field for field, _ in ordered], [value for _, value in ordered], color=COLORS["finished"])
        panel.set_xlabel(f"importance for {objective}")
        panel.set_xlim(0, 1)
    return figure


def front_figure(config: SweepConfig, records: Sequence[Record], best: Sequence[Record]) -> Figure:
    """Finished trials in the plane of the first two objectives, those of the front joined."""
    x, y = config.objectives[1], config.objectives[0]
    figure = Figure(figsize=(2 * PANEL[0], 2 * PANEL[1]), layout="constrained")
    panel = figure.subplots()
    shown = [one for one in records if one.state == "finished" and {x, y} <= one.values.keys()]
    panel.scatter([one.values[x] for one in shown], [one.values[y] for one in shown], color=COLORS["stopped"], s=24)
    line = sorted(best, key=lambda one: one.values[x])
    panel.plot([one.values[x] for one in line], [one.values[y] for one in line], "o-", color=COLORS["finished"])
    for one in best:
        panel.annotate(one.trial, (one.values[x], one.values[y]), fontsize="x-small")
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    return figure


def _place(domain: Domain, drawn: Any) -> float:
    return float(list(domain.labels).index(drawn)) if domain.choice else float(drawn)


def _scale(panel: Any, domain: Domain) -> None:
    if domain.choice:
        labels = [str(label) for label in domain.labels]
        panel.set_xticks(range(len(labels)), labels, rotation=30 if max(map(len, labels)) > 6 else 0, ha="right")
        panel.set_xlim(-0.5, len(labels) - 0.5)
        return
    bounds: Any = domain.uniform or domain.log_uniform or domain.integers
    panel.set_xlim(*bounds)
    panel.set_xscale("log" if domain.log_uniform else "linear")


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "cli_ray", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
