"""The section on benchmarks: scores with their errors, differences between models, and samples to look at.

Of one output folder of `cli-ray eval`, or of a baseline with its rivals, compared item by item.
"""

from collections.abc import Iterable, Iterator, Sequence

from cli_ray.errors import UserError
from cli_ray.evals.results.aggregate import Row, is_official
from cli_ray.evals.results.compare import Comparison, compare, corrected
from cli_ray.evals.results.paired import Contrast
from cli_ray.evals.results.table import Results, cells, decimals, notes, read_results
from cli_ray.report.figures import Interval, forest
from cli_ray.report.flips import flip_cards
from cli_ray.report.samples import failed_cards
from cli_ray.report.section import Card, Figure, Section, Table

FLIPS, FAILURES = 100, 76
"""Samples that are shown at most; with those of the gates they are 200."""
FACETS = 60
"""Parts of a benchmark that are listed at most."""
_Z = 1.96
"""Standard errors in a 95 percent interval."""

Part = str | Table | Figure | Sequence[Card]


def benchmarks(folders: Sequence[str]) -> Section:
    """The section on the benchmarks of one output folder, or of several, the first of which is the baseline.

    Args:
        folders: paths or pyarrow URIs.

    Raises:
        UserError: the first holds no results.
    """
    results = {folder: read_results(folder) for folder in folders}
    parts: list[Part] = []
    for folder in folders:
        parts += _scores(folder, results[folder])
    parts += dict.fromkeys(note for each in results.values() for note in notes(each.rows))
    if len(folders) > 1:
        parts += _differences(folders)
    parts += _facets(results)
    parts += _failures(results)
    return Section("benchmarks", "Benchmarks", parts)


def _scores(folder: str, results: Results) -> Iterator[Part]:
    head, body = cells(results.rows)
    yield Table(head, body, f"{results.model} ({folder})", left=2)
    scored = [row for row in results.rows if row.value is not None]
    if scored:
        yield forest(
            f"scores-{results.model_hash[:8]}",
            f"Scores of {results.model}, in percent of full marks, with 95 % intervals",
            [_score(row) for row in scored],
            marks={model: [_reference(row, model) for row in scored] for model in _models(scored)},
        )


def _score(row: Row) -> Interval:
    scale = 100 / row.full_marks
    value, spread = scale * (row.value or 0.0), scale * _Z * (row.standard_error or 0.0)
    known = row.standard_error is not None
    return Interval(row.title, value, value - spread if known else None, value + spread if known else None)


def _models(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows if is_official(row) for name in row.references))


def _reference(row: Row, model: str) -> float | None:
    value = row.references.get(model) if is_official(row) else None
    return None if value is None else 100 * value / row.full_marks


def _differences(folders: Sequence[str]) -> Iterator[Part]:
    """The baseline with each rival: forest plots, tables, and the samples whose score flipped."""
    baseline, comparisons = folders[0], list[Comparison]()
    for rival in folders[1:]:
        try:
            comparisons.append(compare(baseline, rival))
        except UserError as error:
            yield f"{rival} cannot be compared with {baseline}: {error}"
    tests = sum(len(comparison.contrasts) for comparison in comparisons)
    if comparisons:
        yield (
            f"Differences are rival minus baseline ({comparisons[0].model_a}), item by item. p-values are corrected "
            f"(Holm) for all {tests:,} comparisons of this report."
        )
    for number, comparison in enumerate(corrected(comparisons), start=1):
        yield from _difference(number, comparison, FLIPS // len(comparisons))


def _difference(number: int, comparison: Comparison, most: int) -> Iterator[Part]:
    title = f"{comparison.model_b} minus {comparison.model_a}"
    rows = [_difference_of(contrast) for contrast in comparison.contrasts]
    yield forest(f"differences-{number}", f"{title}, in percent of full marks, with 95 % intervals", rows, zero=True)
    yield _table(comparison, title)
    yield from comparison.notes
    cards = flip_cards(comparison, most)
    if cards:
        yield f"{len(cards):,} of {len(comparison.flips):,} samples whose score differs, those with a picture first."
        yield cards


def _difference_of(contrast: Contrast) -> Interval:
    scale = 100 / contrast.full_marks
    low, high = (None if end is None else scale * end for end in (contrast.low, contrast.high))
    return Interval(contrast.title, scale * contrast.difference, low, high, contrast.p_holm < 0.05)


def _table(comparison: Comparison, title: str) -> Table:
    head = ["benchmark", "metric", "baseline", "rival", "difference", "95 % interval", "p Holm", "wins/losses", "items"]
    rows = []
    for row in comparison.contrasts:
        places = decimals(row.full_marks)
        known = row.low is not None and row.high is not None
        numbers = [f"{row.a:.{places}f}", f"{row.b:.{places}f}", f"{row.difference:+.{places}f}"]
        numbers.append(f"{row.low:+.{places}f} to {row.high:+.{places}f}" if known else "")
        p = "< 0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}"
        rows.append([row.title, row.metric, *numbers, p, f"{row.wins:,}/{row.losses:,}", f"{row.n:,}"])
    return Table(head, rows, title, left=2)


def _facets(results: dict[str, Results]) -> Iterator[Part]:
    """The further metrics of each benchmark, a column for each folder."""
    models = [each.model for each in results.values()]
    of_folder = [{row.benchmark: row for row in each.rows} for each in results.values()]
    for name in dict.fromkeys(name for rows in of_folder for name in rows):
        rows = [rows.get(name) for rows in of_folder]
        title = next(row.title for row in rows if row)
        headlines = {row.metric for row in rows if row}
        facets = list(dict.fromkeys(facet for row in rows if row for facet in row.metrics if facet not in headlines))
        if facets:
            left_out = f"; {len(facets) - FACETS:,} more are in results.json" if len(facets) > FACETS else ""
            body = [[facet, *(_metric(row, facet) for row in rows)] for facet in facets[:FACETS]]
            yield Table(["part", *models], body, f"Parts of {title}{left_out}")


def _metric(row: Row | None, facet: str) -> str:
    return f"{row.metrics[facet]:.2f}" if row and facet in row.metrics else ""


def _failures(results: dict[str, Results]) -> Iterator[Part]:
    """Samples that could not be read, were cut, failed or wait for a judge."""
    for folder, rows in ((folder, each.rows) for folder, each in results.items()):
        cards, count = failed_cards(folder, rows, FAILURES // len(results))
        if cards:
            yield f"{folder}: {len(cards):,} of {count:,} samples that failed, were cut, could not be read or judged."
            yield cards
