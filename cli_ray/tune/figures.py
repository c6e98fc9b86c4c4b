"""Figures of a sweep, as SVG."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from cli_ray.config import Domain, SweepConfig
from cli_ray.tune.results import Record, domains

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
