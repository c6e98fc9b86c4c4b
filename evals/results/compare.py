"""Two models on the benchmarks that both were evaluated on, for `cli-ray compare A B` and the demo.

`evaluations` says what a side can be, `paired` takes the difference of one benchmark.
"""

import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.results.aggregate import Row, is_official, waits_for_judge
from cli_ray.evals.results.evaluations import Evaluation, opened
from cli_ray.evals.results.paired import Contrast, Pairs, Side, aligned, contrast, paired
from cli_ray.evals.results.partners.records import RecordsError
from cli_ray.evals.results.statistics import holm
from cli_ray.evals.results.table import decimals
from cli_ray.storage.files import resolve
from cli_ray.text import grid


class Flip(BaseModel):
    """An item on which the two models score differently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    sample_id: str
    score_a: float
    score_b: float
    reply_a: str
    reply_b: str


class Comparison(BaseModel):
    """Two models over a suite."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    """Output folder."""
    b: str
    model_a: str
    """As the user named it in the evaluation."""
    model_b: str
    prompts: str = "lmms-eval"
    profile: str
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
    """What the reader must know of the two outputs, and benchmarks that could not be compared."""
    flips: tuple[Flip, ...]


def compare(a: str, b: str, *, data_root: str = "", own: Mapping[str, Benchmark] | None = None) -> Comparison:
    """Compares two evaluations, local or at pyarrow URIs, item by item.

    Args:
        a: the baseline: an output folder, or records of another tool, see `cli_ray.evals.results.evaluations`.
        b: the other one.
        data_root: of the documents that records of other tools are scored against; those of the output folder beside
            them, or the hub's, when empty.
        own: own benchmarks by name, for those in Python whose headline is no mean.

    Raises:
        UserError: a folder holds no results, prompts, profiles, judges or definitions differ, a benchmark in Python is
            not given whose headline is no mean, or no item counts on both sides.
    """
    evaluations = opened(a, b, data_root, own or {})
    notes: list[str] = []
    contrasts, flips = [], []
    compared: list[tuple[Row, Row]] = []
    for name in _in_common(*evaluations):
        try:
            rows = evaluations[0].row(name), evaluations[1].row(name)
        except RecordsError as error:
            notes.append(f"{name}: nothing to compare: {error}")
            continue
        _check_alike(*rows)
        _check_defined_alike(name, *evaluations)
        compared.append(rows)
        waiting = " and ".join(side for side, row in zip("AB", rows, strict=True) if waits_for_judge(row))
        if waiting:
            notes.append(f"{name}: nothing to compare: no judge was asked in {waiting}")
            continue
        sides = [side.side(name) for side in evaluations]
        if not all(map(is_official, rows)):
            sides[1] = aligned(*sides)
        pairs = paired(*sides)
        of_sides = [
            f"{side}: {note}" for side, each in zip("AB", evaluations, strict=True) for note in each.notes_on(name)
        ]
        result = _contrast(evaluations[0].benchmark(name), pairs, sides, rows, of_sides)
        if result is None:
            notes.append(f"{name}: nothing to compare: {_counts(pairs)}")
            continue
        contrasts.append(result)
        flips += _flips(name, pairs)
    if not contrasts:
        raise UserError(f"{a} and {b} have no scored item in common:\n  " + "\n  ".join(notes))
    comparison = Comparison(
        a=a,
        b=b,
        model_a=evaluations[0].model,
        model_b=evaluations[1].model,
        prompts=compared[0][0].prompts,
        profile=compared[0][0].profile,
        contrasts=tuple(contrasts),
        notes=(*_notes(evaluations, compared), *notes),
        flips=tuple(flips),
    )
    return corrected([comparison])[0]


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p-values corrected for all benchmarks of all of them: of one baseline with many rivals."""
    ps = iter(holm([contrast.p for comparison in comparisons for contrast in comparison.contrasts]))
    return [
        comparison.model_copy(
            update={
                "contrasts": tuple(
                    contrast.model_copy(update={"p_holm": next(ps)}) for contrast in comparison.contrasts
                )
            }
        )
        for comparison in comparisons
    ]


def markdown(comparison: Comparison) -> str:
    """The comparison as a table with its footnotes, legible as plain text too; ends in a newline."""
    head = ["benchmark", "metric", "A", "B", "B - A [95 %]", "p", "p Holm", "wins/losses", "n"]
    body = [
        [
            row.title,
            row.metric,
            f"{row.a:.{decimals(row.full_marks)}f}",
            f"{row.b:.{decimals(row.full_marks)}f}",
            _difference(row),
            _p(row.p),
            _p(row.p_holm),
            f"{row.wins:,}/{row.losses:,}",
            f"{row.n:,}",
        ]
        for row in comparison.contrasts
    ]
    notes = [
        f"A: {comparison.model_a} ({comparison.a})",
        f"B: {comparison.model_b} ({comparison.b})",
        f"Prompts {comparison.prompts}, scoring profile {comparison.profile}; wins are items on which B scores higher.",
        *comparison.notes,
    ]
    for row in comparison.contrasts:
        left_out = [f"{count:,} items left out: {reason}" for reason, count in row.left_out.items()]
        notes.append(f"{row.title}: {row.test}, {row.clusters:,} clusters" + "".join(f"; {text}" for text in left_out))
        notes += [f"{row.title}: {note}" for note in row.notes]
    return "\n".join([grid(head, body, left=2), "", *(f"- {note}" for note in notes)]) + "\n"


def flip_lines(comparison: Comparison, most: int) -> list[str]:
    """The first flips of each benchmark, a line each, replies cut short."""
    lines = []
    for row in comparison.contrasts:
        flips = [flip for flip in comparison.flips if flip.benchmark == row.benchmark]
        for flip in flips[:most]:
            scored = f"{flip.score_a:g} -> {flip.score_b:g}"
            lines.append(
                f"{row.benchmark} {flip.sample_id}: {scored}: {_short(flip.reply_a)} -> {_short(flip.reply_b)}"
            )
        if most and len(flips) > most:
            lines.append(f"{row.benchmark}: {len(flips) - most:,} more flips")
    return lines


def write(comparison: Comparison, folder: str) -> None:
    """Writes `comparison.md`, `comparison.json` and `flips.jsonl` to a folder, local or a pyarrow URI."""
    filesystem, inner = resolve(folder)
    filesystem.create_dir(inner, recursive=True)
    files = {
        "comparison.md": markdown(comparison),
        "comparison.json": comparison.model_dump_json(indent=2, exclude={"flips"}) + "\n",
        "flips.jsonl": "".join(f"{flip.model_dump_json()}\n" for flip in comparison.flips),
    }
    for name, text in files.items():
        with filesystem.open_output_stream(f"{inner.rstrip('/')}/{name}") as file:
            file.write(text.encode())


def _in_common(a: Evaluation, b: Evaluation) -> list[str]:
    names = [name for name in a.titles if name in b.titles]
    if not names:
        there = " and ".join(", ".join(side.titles) or "nothing" for side in (a, b))
        raise UserError(f"{a.place} and {b.place} have no benchmark in common: they hold {there}")
    return names


def _check_alike(a: Row, b: Row) -> None:
    """Refuses scores that were made in different ways."""
    if a.prompts != b.prompts:
        raise UserError(
            f"{a.benchmark}: asked with the prompts of {a.prompts} in A and of {b.prompts} in B, and the wording alone "
            "moves scores: run `cli-ray eval` with the other --prompts and another --output on one of the models"
        )
    if a.profile != b.profile:
        raise UserError(
            f"{a.benchmark}: scored under profile {a.profile} in A and {b.profile} in B: run `cli-ray eval` on one of "
            "them again with the other --profile; stored replies are not generated again"
        )
    # An unjudged side has no judge; its samples have no score and drop out.
    judges = [f"{row.judge} (prompt {row.judge_prompt[:8]})" for row in (a, b) if row.judge]
    if len(set(judges)) > 1:
        raise UserError(f"{a.benchmark}: judged by {judges[0]} in A and {judges[1]} in B: let one judge grade both")


def _check_defined_alike(name: str, a: Evaluation, b: Evaluation) -> None:
    if a.digest(name) != b.digest(name):
        raise UserError(
            f"{name}: A and B were evaluated on different definitions of that name: run `cli-ray eval` on one of them "
            "again with the --benchmark-file of the other"
        )


def _contrast(
    benchmark: Benchmark, pairs: Pairs, sides: Sequence[Side], rows: Sequence[Row], of_sides: Sequence[str]
) -> Contrast | None:
    notes = [*of_sides]
    notes += [f"{name} is incomplete" for name, row in zip("AB", rows, strict=True) if not row.complete]
    notes += [f"{name} is doubtful" for name, row in zip("AB", rows, strict=True) if row.doubtful]
    if rows[0].judge_decoding != rows[1].judge_decoding:
        drawn = [row.judge_decoding or "unknown" for row in rows]
        notes.append(f"the judge's decoding differs: {drawn[0]} in A, {drawn[1]} in B")
    decodings = [", ".join(sorted(side.decodings)) for side in sides]
    if decodings[0] != decodings[1]:
        notes.append(f"decoding differs: {decodings[0]} in A, {decodings[1]} in B")
    ids = pairs.left_out.get("prompt or images differ", [])
    if ids:
        notes.append(f"prompt or images differ of {', '.join(ids[:5])}" + (", ..." if len(ids) > 5 else ""))
    return contrast(benchmark, pairs, rows[0].profile, notes) if pairs.a else None


def _notes(evaluations: tuple[Evaluation, Evaluation], compared: Sequence[tuple[Row, Row]]) -> list[str]:
    a, b = evaluations
    notes = [f"{name}: {note}" for name, side in (("A", a), ("B", b)) for note in side.notes]
    if a.model_hash == b.model_hash != "":
        notes.append("A and B are of the same model: differences come from numerics or decoding alone.")
    for name, side, other in (("A", a, b), ("B", b, a)):
        alone = [title for benchmark, title in side.titles.items() if benchmark not in other.titles]
        notes += [f"Only in {name}: {', '.join(alone)}."] if alone else []
    parts = [", ".join(rows[side].title for rows in compared if not is_official(rows[side])) for side in (0, 1)]
    if parts[0] == parts[1]:
        notes += [f"Not the official set: {parts[0]}."] if parts[0] else []
    else:
        notes += [f"Not the official set in {name}: {part}." for name, part in zip("AB", parts, strict=True) if part]
    return notes


def _flips(name: str, pairs: Pairs) -> list[Flip]:
    return [
        Flip(
            benchmark=name,
            sample_id=a.sample.id,
            score_a=a.sample.score or 0.0,
            score_b=b.sample.score or 0.0,
            reply_a=a.reply,
            reply_b=b.reply,
        )
        for a, b in zip(pairs.a, pairs.b, strict=True)
        if a.sample.score != b.sample.score
    ]


def _counts(pairs: Pairs) -> str:
    return ", ".join(f"{len(ids):,} items {reason}" for reason, ids in pairs.left_out.items()) or "no items"


def _difference(row: Contrast) -> str:
    places = decimals(row.full_marks)
    ends = "" if row.low is None or row.high is None else f" [{row.low:+.{places}f}, {row.high:+.{places}f}]"
    return f"{row.difference:+.{places}f}{ends}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _short(reply: str) -> str:
    return json.dumps(reply if len(reply) <= 60 else f"{reply[:57]}...", ensure_ascii=False)
