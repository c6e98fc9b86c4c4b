"""Runs side by side: their curves on one axis, what differs in their configs, and how their scores grow."""

from collections.abc import Mapping, Sequence

from cli_ray.report.figures import trends
from cli_ray.report.run import changes, flat
from cli_ray.report.section import Part, Section, Table
from cli_ray.report.trends import Trend
from cli_ray.text import NOTHING
from cli_ray.watch.history import RunHistory
from cli_ray.watch.views import number

CURVES = {
    "loss": "Loss a supervised token",
    "validation_loss": "Validation loss",
    "grad_norm": "Norm of the gradient",
    "tokens/s": "Tokens a second",
}
OWN = ("name", "runs_dir")
"""Fields in which runs differ whatever they are."""

Curves = Mapping[str, Mapping[str, Trend]]
"""By the name of a run, its curves."""


def side_by_side(runs: Mapping[str, RunHistory], curves: Curves) -> Section:
    """Several runs: a row each, and a figure for each curve that two of them have."""
    head = ["run", "state", "step", "loss", "validation loss", "tokens/s", "reason"]
    rows = [
        [name, run.state.name, number(run.state.step), *(_last(curves[name], metric) for metric in list(CURVES)[:2]),
         _last(curves[name], "tokens/s"), run.state.reason]
        for name, run in runs.items()
    ]  # fmt: skip
    parts: list[Part] = [Table(head, rows, "A row for each run.", left=2)]
    for metric, title in CURVES.items():
        lines = {name: of_run[metric] for name, of_run in curves.items() if metric in of_run}
        if len(lines) > 1 and any(len(line.buckets) > 1 for line in lines.values()):
            parts.append(trends(f"runs-{metric.replace('/', '-')}", title, lines))
    return Section("runs", "Runs side by side", parts)


def differing_fields(runs: Mapping[str, RunHistory]) -> Section | None:
    """The fields of the configs that are not the same in all runs."""
    known = {name: run.config for name, run in runs.items() if run.config is not None}
    if len(known) < 2:
        return None
    values = {name: flat(config.model_dump(mode="json")) for name, config in known.items()}
    fields = dict.fromkeys(field for config in known.values() for field in changes(config))
    rows = [
        [field, *(of_run.get(field, NOTHING) for of_run in values.values())]
        for field in fields
        if field not in OWN and len({of_run.get(field) for of_run in values.values()}) > 1
    ]
    if not rows:
        return Section("differences", "Configs", ["The runs have the same config, but for their names."])
    table = Table(["field", *values], rows, "Fields that differ.", left=1 + len(values))
    return Section("differences", "Configs", [table])


def growing_scores(curves: Curves) -> Section | None:
    """The scores of evaluated checkpoints over steps, a figure for each benchmark."""
    names = dict.fromkeys(
        metric
        for of_run in curves.values()
        for metric in of_run
        if metric.startswith("eval/") and not metric.endswith("_se")
    )
    parts: Sequence[Part] = [
        trends(
            f"runs-{metric.replace('/', '-')}",
            f"{metric.removeprefix('eval/')} over steps",
            {name: of_run[metric] for name, of_run in curves.items() if metric in of_run},
        )
        for metric in names
    ]
    return Section("growing-scores", "Scores over steps", parts) if parts else None


def _last(curves: Mapping[str, Trend], metric: str) -> str:
    if metric not in curves:
        return NOTHING
    return f"{curves[metric].last:,.0f}" if metric == "tokens/s" else f"{curves[metric].last:.4g}"
