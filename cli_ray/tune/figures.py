"""The figures of a sweep, as SVG. Called by the driver of the sweep once all trials have ended, and by its report."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import matplotlib as mpl
from matplotlib.figure import Figure

from cli_ray.config import Domain, SweepConfig

# Not by optuna.visualization.matplotlib (optuna 5.0.0): its plot_slice leaves out trials that were stopped early, which
# are most of them under ASHA; its plot_param_importances puts the names in the order of the last objective beside the
# bars of all of them; its plot_pareto_front names no trial; and all three change the style of pyplot for the process.

COLORS = {"finished": "#1f77b4", "stopped": "#b0b0b0"}
PANEL = (3.2, 2.8)
"""Width and height in inches."""


class Trial(Protocol):
    """What is drawn of a trial, see `TrialResult`."""

    @property
    def trial(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def values(self) -> Mapping[str, float]: ...
    @property
    def draw(self) -> Mapping[str, Any]: ...


def draw_figures(
    sweep: SweepConfig, results: Sequence[Trial], best: Sequence[Trial], shares: Mapping[str, Mapping[str, float]]
) -> dict[str, bytes]:
    """SVG files by name: `trials`, and where there is anything to show `importance` and `front`.

    Args:
        sweep: whose objectives and hyperparameters are shown.
        results: of all trials.
        best: the Pareto front.
        shares: of each hyperparameter, by objective; see `importance`.
    """
    figures = {"trials": _trials_figure(sweep, results)}
    if shares:
        figures["importance"] = _importance_figure(shares)
    if len(sweep.objectives) > 1:
        figures["front"] = _front_figure(sweep, results, best)
    return {name: _svg(figure) for name, figure in figures.items()}


def _trials_figure(sweep: SweepConfig, results: Sequence[Trial]) -> Figure:
    """Each objective (rows of panels) over each hyperparameter (columns)."""
    fields = sweep.domains
    rows, columns = len(sweep.objectives), len(fields)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, objective in zip(panels, sweep.objectives, strict=True):
        for panel, (field, domain) in zip(row, fields.items(), strict=True):
            for state, color in COLORS.items():
                shown = [result for result in results if result.state == state and objective in result.values]
                x = [_position(domain, result.draw[field]) for result in shown]
                panel.scatter(x, [result.values[objective] for result in shown], color=color, s=18, label=state)
            _scale(panel, domain)
            panel.set_xlabel(_plain(field))
        row[0].set_ylabel(_plain(objective))
    panels[0][0].legend(fontsize="small")
    return figure


def _importance_figure(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """A panel of bars for each objective."""
    figure = Figure(figsize=(2 * PANEL[0], PANEL[1] * len(shares)), layout="constrained")
    panels = figure.subplots(len(shares), squeeze=False)[:, 0]
    for panel, (objective, share) in zip(panels, shares.items(), strict=True):
        ordered = sorted(share.items(), key=lambda item: item[1])
        panel.barh([_plain(field) for field, _ in ordered], [value for _, value in ordered], color=COLORS["finished"])
        panel.set_xlabel(_plain(f"importance for {objective}"))
        panel.set_xlim(0, 1)
    return figure


def _front_figure(sweep: SweepConfig, results: Sequence[Trial], best: Sequence[Trial]) -> Figure:
    """Finished trials in the plane of the first two objectives; those of the front are joined and named."""
    y, x = sweep.objectives[:2]
    figure = Figure(figsize=(2 * PANEL[0], 2 * PANEL[1]), layout="constrained")
    panel = figure.subplots()
    points = [result.values for result in results if result.state == "finished" and {x, y} <= result.values.keys()]
    panel.scatter([point[x] for point in points], [point[y] for point in points], color=COLORS["stopped"], s=24)
    line = sorted((result.values for result in best), key=lambda point: point[x])
    panel.plot([point[x] for point in line], [point[y] for point in line], "o-", color=COLORS["finished"])
    for result in best:
        panel.annotate(_plain(result.trial), (result.values[x], result.values[y]), fontsize="x-small")
    panel.set_xlabel(_plain(x))
    panel.set_ylabel(_plain(y))
    return figure


def _position(domain: Domain, value: Any) -> float:
    """Where a drawn value stands on the axis: its number among those of a choice, else the value itself."""
    return float(list(domain.labels).index(value)) if domain.choice else float(value)


def _scale(panel: Any, domain: Domain) -> None:
    if domain.choice:
        labels = [_plain(str(label)) for label in domain.labels]
        panel.set_xticks(range(len(labels)), labels, rotation=30 if max(map(len, labels)) > 6 else 0, ha="right")
        panel.set_xlim(-0.5, len(labels) - 0.5)
        return
    bounds: Any = domain.uniform or domain.log_uniform or domain.integers
    panel.set_xlim(*bounds)
    panel.set_xscale("log" if domain.log_uniform else "linear")


def _plain(label: str) -> str:
    """A label that matplotlib does not take for mathematics."""
    return label.replace("$", r"\$")


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without a date and with fixed ids the same trials give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "cli_ray", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
