"""Figures of a report, drawn by matplotlib as SVG whose texts stay texts, with the numbers behind them."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure as Canvas

from cli_ray.report.section import Figure, Table
from cli_ray.report.texts import clean
from cli_ray.report.trends import Trend

MOST_POINTS = 500
"""Of a line."""
SIZE = (5.6, 2.9)
"""Inches of curves: two side by side on a wide page."""
LONGEST_LABEL = 40
"""Characters; the table behind a figure has whole labels."""
LEGEND_LETTERS = 80
"""Of small print, in the width of curves."""
SPARSE = 30
"""Points below which each is marked."""


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
    canvas = Canvas(figsize=(SIZE[0], 0.9 + 0.28 * len(rows)), layout="constrained")
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
    labels = 0.08 * max(map(len, map(_plain, rows)), default=0)
    canvas = Canvas(figsize=(1.8 + labels + 0.32 * len(columns), 1.2 + 0.26 * len(rows)), layout="constrained")
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
    axes.set_ylabel(_plain(row_title))
    axes.set_xlabel(_plain(column_title))
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
    canvas = Canvas(figsize=SIZE, layout="constrained")
    axes = canvas.add_subplot()
    axes.set_prop_cycle(color=_colors(len(lines)))
    for label, values in lines.items():
        axes.plot(x, values, linewidth=1.2, label=_plain(label))
    axes.set_xlabel(x_title)
    _name_lines(canvas, list(lines))
    axes.spines[["top", "right"]].set_visible(False)
    body = [[f"{at:g}", *(_number(values[i]) for values in lines.values())] for i, at in enumerate(x)]
    alt = "; ".join(f"{label} ends at {_number(values[-1])}" for label, values in lines.items())
    return Figure(name, title, _svg(canvas, name), f"{title}: {alt}", Table([x_title, *lines], body, title))


def trends(name: str, title: str, lines: Mapping[str, Trend], *, from_zero: bool = False) -> Figure:
    """Metrics over steps: smoothed lines, and behind each the range of its raw values.

    Args:
        name: of its file.
        title: with the unit.
        lines: by their labels.
        from_zero: begin the axis at 0.
    """
    canvas = Canvas(figsize=SIZE, layout="constrained")
    axes = canvas.add_subplot()
    axes.set_prop_cycle(color=_colors(len(lines)))
    for label, trend in lines.items():
        steps, marker = trend.steps, "o" if len(trend.buckets) < SPARSE else ""
        (line,) = axes.plot(steps, trend.smoothed(), linewidth=1.4, marker=marker, markersize=3.5, label=_plain(label))
        low, high = ([getattr(bucket, end) for bucket in trend.buckets] for end in ("low", "high"))
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.plot(steps, [bucket.mean for bucket in trend.buckets], color=line.get_color(), alpha=0.35, linewidth=0.6)
    if from_zero:
        axes.set_ylim(0, 1.05 * max(bucket.high for trend in lines.values() for bucket in trend.buckets) or None)
    axes.ticklabel_format(useOffset=False)
    axes.set_xlabel("step")
    if len(lines) > 1:
        _name_lines(canvas, list(lines))
    axes.spines[["top", "right"]].set_visible(False)
    body = [
        [label, f"{bucket.step:,}", *map(_number, (bucket.low, bucket.mean, bucket.high))]
        for label, trend in lines.items()
        for bucket in trend.buckets
    ]
    alt = "; ".join(f"{label} from {_number(trend.first)} to {_number(trend.last)}" for label, trend in lines.items())
    table = Table(["line", "up to step", "least", "mean", "largest"], body, title)
    return Figure(name, title, _svg(canvas, name), f"{title}: {alt}", table)


def _colors(lines: int) -> list[Any]:
    """A colour for each of so many lines: ten that are told apart at a glance, of more the shades of one scale."""
    return list(
        colormaps["tab10"](np.arange(lines)) if lines <= 10 else colormaps["turbo"](np.linspace(0.08, 0.92, lines))
    )


def _name_lines(canvas: Canvas, labels: Sequence[str]) -> None:
    """A legend below the axes, in columns, for which the canvas grows: a phone shows the axes in full width."""
    longest = max(len(_plain(label)) for label in labels)
    columns = min(len(labels), max(1, LEGEND_LETTERS // (longest + 6)))  # the sample of a line is as wide as 6 letters
    canvas.set_figheight(SIZE[1] + 0.18 * math.ceil(len(labels) / columns))
    canvas.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=columns)


def _svg(canvas: Canvas, name: str) -> str:
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has fonts of its own for all scripts
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _plain(label: str) -> str:
    """A label of one line that matplotlib does not take for mathematics, and that leaves room for the figure."""
    line = " ".join(clean(label).split())
    return (line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 1]}…").replace("$", r"\$")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
