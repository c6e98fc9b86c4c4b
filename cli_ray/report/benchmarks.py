"""The section on benchmarks: scores with their errors, differences between models, and samples to look at.

Of one output folder of `cli-ray eval`, or of a baseline with its rivals, compared item by item.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.results.aggregate import Row, is_official
from cli_ray.evals.results.compare import Comparison, compare, corrected
from cli_ray.evals.results.paired import Contrast
from cli_ray.evals.results.table import Results, cells, decimals, notes, read_results
from cli_ray.report.figures import Interval, forest
from cli_ray.report.flips import flip_cards
from cli_ray.report.samples import failed_cards
from cli_ray.report.section import Part, Section, Table

FLIPS, FAILURES = 100, 76
"""Samples that are shown at most; with those of the gates they are 200."""
FACETS = 60
"""Parts of a benchmark that are listed at most."""
SIGNIFICANT = 0.05
"""Corrected p-values below which a difference is called real."""
NAMED = 4
"""Benchmarks that a sentence names."""
_Z = 1.96
"""Standard errors in a 95 percent interval."""


def benchmarks(folders: Sequence[str], own: Mapping[str, Benchmark] | None = None) -> Section:
    """The section on the benchmarks of one output folder, or of several, the first of which is the baseline.

    Args:
        folders: paths or pyarrow URIs.
        own: own benchmarks by name, see `cli_ray.evals.results.compare`.

    Raises:
        UserError: the first holds no results.
    """
    results, unread = {folders[0]: read_results(folders[0])}, list[str]()
    for folder in folders[1:]:
        try:
            results[folder] = read_results(folder)
        except UserError as error:
            unread.append(str(error))
    results = _renamed(results)
    comparisons, refused = _compared(results, own)
    parts: list[Part] = [*unread]
    for folder, each in results.items():
        parts += _scores(folder, each)
    parts += dict.fromkeys(note for each in results.values() for note in notes(each.rows))
    parts += [*refused, *_differences(comparisons)]
    parts += _facets(results)
    parts += _failures(results)
    outcomes = [_outcome(comparison) for comparison in comparisons]
    return Section("benchmarks", "Benchmarks", parts, "\n".join(outcomes or map(_scored, results.values())))


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


def _renamed(results: dict[str, Results]) -> dict[str, Results]:
    """The results with models named by the last part of their path or hub id, where that tells them apart."""
    names = [each.model.rstrip("/").rpartition("/")[2] for each in results.values()]
    if len(set(names)) < len(names):
        return results
    named = zip(results.items(), names, strict=True)
    return {folder: each.model_copy(update={"model": name}) for (folder, each), name in named}


def _compared(results: dict[str, Results], own: Mapping[str, Benchmark] | None) -> tuple[list[Comparison], list[str]]:
    """The baseline with each rival, p-values corrected for all of them; and why others cannot be compared."""
    (baseline, *rivals), comparisons, refused = results, list[Comparison](), list[str]()
    for rival in rivals:
        names = {"model_a": results[baseline].model, "model_b": results[rival].model}
        try:
            comparisons.append(compare(baseline, rival, own=own).model_copy(update=names))
        except UserError as error:
            refused.append(f"{rival} cannot be compared with {baseline}: {error}")
    return corrected(comparisons), refused


def _differences(comparisons: Sequence[Comparison]) -> Iterator[Part]:
    """Of each comparison a forest plot, a table, and the samples whose score flipped."""
    tests = sum(len(comparison.contrasts) for comparison in comparisons)
    if comparisons:
        yield (
            f"Differences are rival minus baseline ({comparisons[0].model_a}), item by item. p-values are corrected "
            f"(Holm) for all {tests:,} comparisons of this report."
        )
    for number, comparison in enumerate(comparisons, start=1):
        yield from _difference(number, comparison, FLIPS // len(comparisons))


def _outcome(comparison: Comparison) -> str:
    """A comparison in a sentence."""
    real = [contrast for contrast in comparison.contrasts if contrast.p_holm < SIGNIFICANT]
    better = [contrast.title for contrast in real if contrast.difference > 0]
    worse = [contrast.title for contrast in real if contrast.difference < 0]
    parts = [f"better on {_named(better)}"] if better else []
    parts += [f"worse on {_named(worse)}"] if worse else []
    same = len(comparison.contrasts) - len(real)
    parts += [f"not told apart on {same:,} of {len(comparison.contrasts):,} benchmarks"] if same else []
    if len(comparison.contrasts) == 1:
        parts.append(f"the difference is {_difference_text(comparison.contrasts[0])}")
    return f"{comparison.model_b} against {comparison.model_a}: {', '.join(parts)}."


def _named(titles: Sequence[str]) -> str:
    more = f" and {len(titles) - NAMED:,} more" if len(titles) > NAMED else ""
    return ", ".join(titles[:NAMED]) + more


def _scored(results: Results) -> str:
    """The scores of one model in a sentence."""
    scored = [row for row in results.rows if row.value is not None]
    if results.mean is not None:
        return f"{results.model}: mean {results.mean.value:.1f} % over {len(results.mean.benchmarks):,} benchmarks."
    listed = [f"{row.title} {row.value:.{decimals(row.full_marks)}f}" for row in scored[:NAMED]]
    return f"{results.model}: {', '.join(listed) or 'nothing is scored'}."


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
    return Interval(contrast.title, scale * contrast.difference, low, high, contrast.p_holm < SIGNIFICANT)


def _interval(row: Contrast) -> str:
    places = decimals(row.full_marks)
    known = row.low is not None and row.high is not None
    return f"{row.low:+.{places}f} to {row.high:+.{places}f}" if known else ""


def _difference_text(row: Contrast) -> str:
    """A difference with its interval, in the units of the headline."""
    interval = _interval(row)
    return f"{row.difference:+.{decimals(row.full_marks)}f}" + (f", 95 % interval {interval}" if interval else "")


def _table(comparison: Comparison, title: str) -> Table:
    head = ["benchmark", "metric", "baseline", "rival", "difference", "95 % interval", "p Holm", "wins/losses", "items"]
    rows = []
    for row in comparison.contrasts:
        places = decimals(row.full_marks)
        numbers = [f"{row.a:.{places}f}", f"{row.b:.{places}f}", f"{row.difference:+.{places}f}", _interval(row)]
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
        try:
            cards, count = failed_cards(folder, rows, FAILURES // len(results))
        except UserError as error:  # the table of samples is gone or damaged
            yield str(error)
            continue
        if cards:
            yield f"{folder}: {len(cards):,} of {count:,} samples that failed, were cut, could not be read or judged."
            yield cards
