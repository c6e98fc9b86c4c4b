"""The table that a user reads: Markdown, JSON, and a plain line a benchmark.

`output` writes it, `progress` shows its lines, and comparisons read its JSON again.
"""

import re
from collections.abc import Callable, Sequence
from math import fsum, sqrt
from typing import Any

from pydantic import BaseModel, ConfigDict

from cli_ray.errors import UserError
from cli_ray.evals.results.aggregate import Row, is_official
from cli_ray.evals.results.service import service_notes
from cli_ray.storage.files import resolve
from cli_ray.text import NOTHING, grid


class Mean(BaseModel):
    """The mean of headlines, each in percent of its full marks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    standard_error: float | None
    benchmarks: tuple[str, ...]
    """Titles."""
    left_out: tuple[str, ...]
    """Titles of those that nothing or not all is scored of, or whose score is doubtful."""
    scaled: tuple[str, ...]
    """Titles with full marks, for those that are not in percent."""


class Results(BaseModel):
    """What `results.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """As the user named it."""
    model_hash: str
    rows: tuple[Row, ...]
    mean: Mean | None


def results(rows: Sequence[Row], model: str, model_hash: str) -> dict[str, Any]:
    """The content of `results.json`; `read_results` reads it."""
    return Results(model=model, model_hash=model_hash, rows=tuple(rows), mean=suite_mean(rows)).model_dump(mode="json")


def read_results(folder: str) -> Results:
    """The results of an output folder, local or a pyarrow URI.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    path = f"{folder.rstrip('/')}/results.json"
    try:
        filesystem, inner = resolve(path)
        with filesystem.open_input_stream(inner) as file:
            return Results.model_validate_json(bytes(file.read()))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: holds no results.json: give the --output of a `cli-ray eval` that has finished a benchmark"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def suite_mean(rows: Sequence[Row]) -> Mean | None:
    """The mean over official sets that are wholly scored. None for fewer than two, and while a row is incomplete:
    it would be the mean of whatever happened to finish."""
    counted = [
        row for row in rows if row.value is not None and row.n_scored == row.n and is_official(row) and not row.doubtful
    ]
    if len(counted) < 2 or not all(row.complete for row in rows):
        return None
    shares = [100 * (row.value or 0.0) / row.full_marks for row in counted]
    errors = [100 * row.standard_error / row.full_marks for row in counted if row.standard_error is not None]
    return Mean(
        value=fsum(shares) / len(counted),
        standard_error=sqrt(fsum(error**2 for error in errors)) / len(counted) if len(errors) == len(counted) else None,
        benchmarks=tuple(row.title for row in counted),
        left_out=tuple(row.title for row in rows if row not in counted),
        scaled=tuple(f"{row.title} of {row.full_marks:,.0f}" for row in counted if row.full_marks != 100),
    )


def markdown(rows: Sequence[Row], model: str) -> str:
    """The table with its footnotes, legible as plain text too; ends in a newline."""
    head, body = cells(rows)
    return "\n".join([f"# {model}", "", grid(head, body, left=2), "", *(f"- {note}" for note in notes(rows))]) + "\n"


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table; the columns behind `errors` are published numbers of other models."""
    models = list(dict.fromkeys(name for row in rows if is_official(row) for name in row.references))
    head = ["benchmark", "metric", "score ± standard error", "scored", "unparsed", "truncated", "errors", *models]
    body = [
        [
            row.title,
            row.metric,
            score(row),
            _scored(row) + ("" if row.complete else " (incomplete)"),
            *(f"{count:,}" for count in (row.unparsed, row.truncated, row.errors)),
            *(f"{row.references[name]:g}" if is_official(row) and name in row.references else "" for name in models),
        ]
        for row in rows
    ]
    mean = suite_mean(rows)
    if mean:
        value = _with_error(mean.value, mean.standard_error, 2)
        body.append(["mean", "percent", value, f"{len(mean.benchmarks)}/{len(rows)} sets"] + [""] * (len(head) - 4))
    return head, body


def score(row: Row) -> str:
    """The headline with its standard error, or what there is instead."""
    if row.value is not None:
        doubtful = " (doubtful)" if row.doubtful else ""
        return _with_error(row.value, row.standard_error, decimals(row.full_marks)) + doubtful
    return "unjudged" if row.unjudged else NOTHING


def decimals(full_marks: float) -> int:
    """Decimal places of a headline: two for percent, one for points."""
    return 2 if full_marks <= 100 else 1


def line(row: Row) -> str:
    """A finished benchmark in one line."""
    counts = {"unparsed": row.unparsed, "truncated": row.truncated, "errors": row.errors, "unjudged": row.unjudged}
    notes = [f"{_scored(row)} scored", *(f"{count:,} {name}" for name, count in counts.items() if count)]
    if not row.complete:
        notes.append("incomplete")
    return f"{row.title}: {row.metric} {score(row)} ({', '.join(notes)})"


def _scored(row: Row) -> str:
    """Samples that count, of those asked for, and of the official set where that is another number."""
    return f"{row.n_scored:,}/{row.n:,}" + ("" if is_official(row) else f" of {row.official:,}")


def _named(rows: Sequence[Row], what: Callable[[Row], str]) -> str:
    """What holds of all rows, or of which each holds."""
    titles: dict[str, list[str]] = {}
    for row in rows:
        titles.setdefault(what(row), []).append(row.title)
    if len(titles) == 1:
        return next(iter(titles))
    return "; ".join(f"{value} ({', '.join(of)})" for value, of in titles.items())


def _with_error(value: float, error: float | None, places: int) -> str:
    return f"{value:.{places}f} ± " + (NOTHING if error is None else f"{error:.{places}f}")


def notes(rows: Sequence[Row]) -> list[str]:
    """What the reader of the table must know, a sentence each."""
    mean = suite_mean(rows)
    notes = []
    if rows:
        notes.append(f"Prompts: {_named(rows, lambda row: row.prompts)}.")
        notes.append(f"Scoring profile: {_named(rows, lambda row: row.profile)}.")
    if any(row.decoding for row in rows):
        # The longest reply is the benchmark's own; the rest of the decoding is this evaluation's.
        notes.append(f"Decoding: {_named(rows, lambda row: re.sub(r', [0-9]+ tokens', '', row.decoding))}.")
    notes += service_notes([row.service for row in rows if row.service])
    part = [row.title for row in rows if not is_official(row)]
    if part:
        notes.append(f"Not the official set, so not comparable with published numbers: {', '.join(part)}.")
    judges: dict[str, list[str]] = {}
    for row in rows:
        if row.judge:
            drawn = f", {row.judge_decoding}" if row.judge_decoding else ""
            judges.setdefault(f"{row.judge} (prompt {row.judge_prompt[:8]}{drawn})", []).append(row.title)
    notes += [f"Judge of {', '.join(titles)}: {judge}." for judge, titles in judges.items()]
    notes += [f"{row.title}: {note}" for row in rows for note in row.notes]
    for row in rows:
        if row.doubtful:
            notes.append(
                f"{row.title}: {row.metric} {row.value or 0:.2f} is beyond what replies can earn, so the judge's "
                "answers were hardly read as they were meant; look into `judge/`, and score with `--profile strict`."
            )
        if row.unjudged:
            notes.append(f"{row.title}: {row.unjudged:,} of {row.n:,} unjudged{_stand_in(row)}.")
        if not row.complete:
            missing = f"{row.n - row.n_found:,} of {row.n:,} items have no record, {row.errors:,} failed"
            notes.append(f"{row.title}: incomplete: {missing}; the same command goes on (failed ones: --retry-errors).")
    if mean:
        parts = [f"Mean of {len(mean.benchmarks)} benchmarks, each in percent of its full marks"]
        parts += [f"scaled: {', '.join(mean.scaled)}"] if mean.scaled else []
        parts += [f"left out, as not wholly scored or doubtful: {', '.join(mean.left_out)}"] if mean.left_out else []
        notes.append("; ".join(parts) + ".")
    return notes


def _stand_in(row: Row) -> str:
    if row.stand_in is None:
        return ""
    rules = row.stand_in
    value = _with_error(rules.value, rules.standard_error, decimals(row.full_marks))
    return f"; stand-in ({rules.label}, {rules.n:,} items): {value}"
