"""One benchmark, two models: the items that count on both sides, and the difference of the headline over them.

`cli_ray.evals.results.compare` reads both sides, pairs their items and takes the `Contrast` of each benchmark.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Profile, ScoredItem
from cli_ray.evals.results.aggregate import headline
from cli_ray.evals.results.samples import read_columns, sample_of
from cli_ray.evals.results.statistics import (
    SWAPS,
    Labels,
    Significance,
    Swapped,
    blocks,
    interval,
    mcnemar,
    resampled,
    resampled_mean,
    scores,
    swap_headlines,
    swap_sums,
)

COLUMNS = (
    "sample_id", "prompt_hash", "image_hash", "decoding", "reply", "parsed", "rule", "score", "state", "truncated",
    "stand_in", "parts", "facets", "unit", "cluster",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SideItem:
    """One item on one side."""

    sample: ScoredItem
    question: tuple[str, str]
    """Hashes of prompt and images."""
    reply: str


@dataclass(frozen=True)
class Side:
    """A benchmark on one side."""

    items: dict[str, SideItem]
    """By sample id."""
    decodings: frozenset[str]


@dataclass(frozen=True)
class Pairs:
    """Items that count on both sides, sorted by id."""

    a: list[SideItem] = field(default_factory=list)
    b: list[SideItem] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Ids of the other items, by the reason."""


class Contrast(BaseModel):
    """A against B on a benchmark; differences are B minus A, in percent or points."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    title: str
    metric: str
    full_marks: float
    a: float
    """Headline over the items that count on both sides, as `b`."""
    b: float
    difference: float
    low: float | None
    """Lower end of the 95 percent interval of the difference, by bootstrap over clusters; None if there is but one."""
    high: float | None
    p: float
    """Two-sided."""
    p_holm: float
    """Corrected for the benchmarks of the comparison."""
    test: str
    wins: int
    """Items on which B scores higher."""
    losses: int
    ties: int
    clusters: int
    """Groups of items that are independent of each other."""
    left_out: dict[str, int]
    """Items that are not compared, by the reason."""
    notes: tuple[str, ...]

    @property
    def n(self) -> int:
        """Items compared."""
        return self.wins + self.losses + self.ties


def read_side(path: str) -> Side:
    """A table of samples.

    Raises:
        UserError: it cannot be read, or a sample id occurs twice.
    """
    items: dict[str, SideItem] = {}
    decodings = set()
    for columns in read_columns(path, COLUMNS):
        sample = sample_of(columns)
        if sample.id in items:
            raise UserError(f"{path}: sample id {sample.id!r} occurs twice: make the table again with `cli-ray eval`")
        items[sample.id] = SideItem(sample, (columns["prompt_hash"], columns["image_hash"]), columns["reply"])
        decodings.add(columns["decoding"])
    return Side(items, frozenset(decodings))


def aligned(a: Side, b: Side) -> Side:
    """B with the ids of A: where ids are numbers of rows, a part of a set numbers its items anew.

    An item of B whose id means another item in A, or none, is the item of A with the same prompt and images, if these
    occur once on both sides.
    """
    ids_a, ids_b = _ids_once(a), _ids_once(b)
    same = {name for name in a.items.keys() & b.items.keys() if a.items[name].question == b.items[name].question}
    moved = {ids_b[asked]: ids_a[asked] for asked in ids_a.keys() & ids_b.keys() if ids_b[asked] not in same}
    items = {}
    for number, item in b.items.items():
        means_another = moved and number not in same and number in a.items
        name = moved.get(number, f"{number} of B" if means_another else number)
        unit = name if item.sample.unit == item.sample.id else item.sample.unit
        items[name] = replace(item, sample=replace(item.sample, id=name, unit=unit))
    return Side(items, b.decodings)


def paired(a: Side, b: Side) -> Pairs:
    """The items that both sides have been asked alike and that count on both; the rest by reasons."""
    pairs = Pairs()
    reasons: dict[str, str] = {}
    for sample_id in sorted(a.items.keys() | b.items.keys()):
        reason = _reason(a.items.get(sample_id), b.items.get(sample_id))
        if reason:
            reasons[sample_id] = reason
    broken = _units(a, reasons) | _units(b, reasons)
    for sample_id in sorted(a.items.keys() & b.items.keys() - reasons.keys()):
        if a.items[sample_id].sample.unit in broken:
            reasons[sample_id] = "other items of its unit are left out"
        else:
            pairs.a.append(a.items[sample_id])
            pairs.b.append(b.items[sample_id])
    for sample_id, reason in reasons.items():
        pairs.left_out.setdefault(reason, []).append(sample_id)
    return pairs


def contrast(benchmark: Benchmark, pairs: Pairs, profile: Profile, notes: Sequence[str]) -> Contrast | None:
    """The comparison of a benchmark, `p_holm` being `p`; None where the items do not define its headline."""
    a, b = [item.sample for item in pairs.a], [item.sample for item in pairs.b]
    value = headline(benchmark, profile)
    value_a, value_b = value(a), value(b)
    if value_a is None or value_b is None:
        return None
    labels = blocks(a)
    change = scores(b) - scores(a)
    low, high = _interval(benchmark, profile, a, b, labels)
    test = _test(benchmark, profile, a, b, labels)
    return Contrast(
        benchmark=benchmark.name,
        title=benchmark.title,
        metric=benchmark.headline_of(profile),
        full_marks=benchmark.full_marks,
        a=value_a,
        b=value_b,
        difference=value_b - value_a,
        low=low,
        high=high,
        p=test.p,
        p_holm=test.p,
        test=test.method,
        wins=int((change > 0).sum()),
        losses=int((change < 0).sum()),
        ties=int((change == 0).sum()),
        clusters=int(labels.max()) + 1,
        left_out={reason: len(ids) for reason, ids in pairs.left_out.items()},
        notes=tuple(notes),
    )


def _reason(a: SideItem | None, b: SideItem | None) -> str:
    """Why an item cannot be compared; empty if it can."""
    if a is None or b is None:
        return "only in B" if a is None else "only in A"
    if a.question != b.question:
        return "prompt or images differ"
    for state in ("error", "unjudged"):
        sides = [name for name, item in (("A", a), ("B", b)) if item.sample.state == state]
        if sides:
            return f"{state} in {' and '.join(sides)}"
    return "no score" if a.sample.score is None or b.sample.score is None else ""


def _ids_once(side: Side) -> dict[tuple[str, str], str]:
    """The ids of items by prompt and images, which no other item has."""
    times = Counter(item.question for item in side.items.values())
    return {item.question: name for name, item in side.items.items() if times[item.question] == 1}


def _units(side: Side, ids: Iterable[str]) -> set[str]:
    return {side.items[sample_id].sample.unit for sample_id in ids if sample_id in side.items}


def _interval(
    benchmark: Benchmark, profile: Profile, a: list[ScoredItem], b: list[ScoredItem], labels: Labels
) -> tuple[float | None, float | None]:
    if labels.max() < 1:
        return None, None
    if benchmark.is_linear(profile):
        return interval(100 * resampled_mean(scores(b) - scores(a), labels))
    values = resampled(headline(benchmark, profile), [a, b], labels)
    return interval(values[:, 1] - values[:, 0]) if len(values) else (None, None)


def _test(
    benchmark: Benchmark, profile: Profile, a: list[ScoredItem], b: list[ScoredItem], labels: Labels
) -> Significance:
    """McNemar for right or wrong without clusters; otherwise a permutation of the two models within clusters."""
    if not benchmark.is_linear(profile):
        return _swap_headlines(benchmark, profile, a, b, labels)
    change = scores(b) - scores(a)
    binary = np.isin(scores(a), (0, 1)).all() and np.isin(scores(b), (0, 1)).all()
    if binary and labels.max() + 1 == len(labels):
        return mcnemar(int((change > 0).sum()), int((change < 0).sum()))
    return swap_sums(np.bincount(labels, change).astype(np.float64))


def _swap_headlines(
    benchmark: Benchmark, profile: Profile, a: list[ScoredItem], b: list[ScoredItem], labels: Labels
) -> Significance:
    value = headline(benchmark, profile)
    changed = [_counted(x) != _counted(y) for x, y in zip(a, b, strict=True)]
    differing = np.unique(labels[np.array(changed)])

    def difference(swapped: Swapped) -> float | None:
        away = np.isin(labels, differing[swapped]).tolist()
        left = [y if swap else x for x, y, swap in zip(a, b, away, strict=True)]
        right = [x if swap else y for x, y, swap in zip(a, b, away, strict=True)]
        value_left, value_right = value(left), value(right)
        return None if value_left is None or value_right is None else value_right - value_left

    return swap_headlines(difference, len(differing), min(SWAPS, max(1_000, 5_000_000 // len(a))))


def _counted(sample: ScoredItem) -> tuple[object, ...]:
    """What an aggregation may read of a reply; POPE's F1 reads the parsed answer."""
    return sample.score, sample.parsed, dict(sample.parts)
