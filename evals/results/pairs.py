"""The same items answered by two models."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Sample
from cli_ray.evals.results.samples import read_columns, sample_of

COLUMNS = (
    "sample_id", "prompt_hash", "image_hash", "decoding", "reply", "parsed", "rule", "score", "state", "truncated",
    "stand_in", "parts", "facets", "unit", "cluster",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answered:
    """One item on one side."""

    sample: Sample
    asked: tuple[str, str]
    """Hashes of prompt and images."""
    reply: str


@dataclass(frozen=True)
class Side:
    """A benchmark on one side."""

    answered: dict[str, Answered]
    """By sample id."""
    decodings: frozenset[str]


@dataclass(frozen=True)
class Pairs:
    """Items that count on both sides, sorted by id."""

    a: list[Answered] = field(default_factory=list)
    b: list[Answered] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Ids of the other items, by the reason."""


def read_side(path: str) -> Side:
    """A table of samples.

    Raises:
        UserError: it cannot be read, or a sample id occurs twice.
    """
    answered: dict[str, Answered] = {}
    decodings = set()
    for columns in read_columns(path, COLUMNS):
        sample = sample_of(columns)
        if sample.id in answered:
            raise UserError(f"{path}: sample id {sample.id!r} occurs twice: make the table anew with `cli-ray eval`")
        answered[sample.id] = Answered(sample, (columns["prompt_hash"], columns["image_hash"]), columns["reply"])
        decodings.add(columns["decoding"])
    return Side(answered, frozenset(decodings))


def paired(a: Side, b: Side) -> Pairs:
    """The items that both sides have been asked alike and that count on both; the rest by reasons."""
    pairs = Pairs()
    reasons: dict[str, str] = {}
    for sample_id in sorted(a.answered.keys() | b.answered.keys()):
        reason = _reason(a.answered.get(sample_id), b.answered.get(sample_id))
        if reason:
            reasons[sample_id] = reason
    broken = _units(a, reasons) | _units(b, reasons)
    for sample_id in sorted(a.answered.keys() & b.answered.keys() - reasons.keys()):
        if a.answered[sample_id].sample.unit in broken:
            reasons[sample_id] = "other items of its unit are left out"
        else:
            pairs.a.append(a.answered[sample_id])
            pairs.b.append(b.answered[sample_id])
    for sample_id, reason in reasons.items():
        pairs.left_out.setdefault(reason, []).append(sample_id)
    return pairs


def _reason(a: Answered | None, b: Answered | None) -> str:
    """Why an item cannot be compared; empty if it can."""
    if a is None or b is None:
        return "only in B" if a is None else "only in A"
    if a.asked != b.asked:
        return "prompt or images differ"
    for state in ("error", "unjudged"):
        sides = [name for name, one in (("A", a), ("B", b)) if one.sample.state == state]
        if sides:
            return f"{state} in {' and '.join(sides)}"
    return "no score" if a.sample.score is None or b.sample.score is None else ""


def _units(side: Side, ids: Iterable[str]) -> set[str]:
    return {side.answered[sample_id].sample.unit for sample_id in ids if sample_id in side.answered}
