"""Figures of a report, drawn by matplotlib as SVG whose texts stay texts, with the numbers behind them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure as Canvas

from cli_ray.report.section import Figure, Table

MOST_POINTS = 500
"""Of a line."""


@dataclass(frozen=True)
class Interval:
    """A row of a forest plot."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    is_marked: bool = False
    """Drawn filled: of differences, those that remain after correction."""


def forest(
    name: str,
    title: str,
    rows: Sequence[Interval],
    *,
    zero: bool = False,
    marks: Mapping[str, Sequence[float | None]] | None = None,
) -> Figure:
    """Values with their intervals, a row each.

    Args:
        name: of its file.
        title: with the unit.
        rows: from top to bottom.
        zero: draw a line at 0.
        marks: further values of the rows by the name of what they are.
    """
    canvas = Canvas(figsize=(7.0, 0.9 + 0.28 * len(rows)), layout="constrained")
    axes = canvas.add_subplot()
    for place, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color="C0", linewidth=1.5)
        filled = "C0" if row.is_marked or not zero else "white"
        axes.plot([row.value], [place], "o", color="C0", markerfacecolor=filled, markersize=5)
    for number, (label, values) in enumerate((marks or {}).items(), start=1):
        points = [(value, place) for place, value in enumerate(values) if value is not None]
        axes.plot(*zip(*points, strict=True), "|", color=f"C{number}", markersize=9, markeredgewidth=2, label=label)
    if zero:
        axes.axvline(0, color="0.5", linewidth=0.8)
    if marks:
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    axes.set_yticks(range(len(rows)), [_plain(row.label) for row in rows])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    head = ["", "value", "low", "high", *(marks or {})]
    body = [
        [row.label, *map(_number, (row.value, row.low, row.high)), *(_number(of[i]) for of in (marks or {}).values())]
        for i, row in enumerate(rows)
    ]
    alt = "; ".join(f"{row.label} {_number(row.value)}" for row in rows)
    return Figure(name, title, _svg(canvas, name), f"{title}: {alt}", Table(head, body, title))


def heatmap(
    name: str, title: str, values: Sequence[Sequence[float]], *, rows: Sequence[str], columns: Sequence[str],
    row_title: str, column_title: str, signed: bool = False,
) -> Figure:  # fmt: skip
    """A map of numbers in colours.

    Args:
        name: of its file.
        title: with the unit.
        values: a list for each row.
        rows: labels.
        columns: labels.
        row_title: what rows are.
        column_title: what columns are.
        signed: colours from negative to positive around 0.
    """
    table = np.asarray(values, float)
    canvas = Canvas(figsize=(1.8 + 0.32 * len(columns), 1.2 + 0.26 * len(rows)), layout="constrained")
    axes = canvas.add_subplot()
    top = float(np.nanmax(np.abs(table), initial=0.0)) or 1.0
    shown = axes.imshow(
        table,
        cmap="RdBu_r" if signed else "viridis",
        vmin=-top if signed else 0.0,
        vmax=top,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_yticks(range(len(rows)), [_plain(label) for label in rows])
    axes.set_xticks(range(len(columns)), [_plain(label) for label in columns], rotation=90 if len(columns) > 12 else 0)
    axes.set_ylabel(row_title)
    axes.set_xlabel(column_title)
    canvas.colorbar(shown)
    body = [[label, *map(_number, line)] for label, line in zip(rows, table.tolist(), strict=True)]
    alt = f"{title}: {row_title} by {column_title}, the largest magnitude is {_number(top)}"
    return Figure(name, title, _svg(canvas, name), alt, Table([row_title, *columns], body, title))


def curves(name: str, title: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], x_title: str) -> Figure:
    """Lines over one axis.

    Args:
        name: of its file.
        title: with the unit.
        x: at most `MOST_POINTS`.
        lines: by their labels, as long as `x`.
        x_title: what `x` is.
    """
    canvas = Canvas(figsize=(7.0, 3.0), layout="constrained")
    axes = canvas.add_subplot()
    for label, values in lines.items():
        axes.plot(x, values, linewidth=1.2, label=_plain(label))
    axes.set_xlabel(x_title)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    body = [[f"{at:g}", *(_number(values[i]) for values in lines.values())] for i, at in enumerate(x)]
    alt = "; ".join(f"{label} ends at {_number(values[-1])}" for label, values in lines.items())
    return Figure(name, title, _svg(canvas, name), f"{title}: {alt}", Table([x_title, *lines], body, title))


def _svg(canvas: Canvas, name: str) -> str:
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _plain(label: str) -> str:
    """A label that matplotlib does not take for mathematics."""
    return label.replace("$", r"\$")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
