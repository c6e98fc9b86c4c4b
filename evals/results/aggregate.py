"""From the samples of a benchmark to its row in the table: the headline, its standard error, what is missing.

The scorer calls `row`; comparisons take the headline and what rows are worth from here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark, Profile, Prompts, ScoredItem
from cli_ray.evals.results.service import Service
from cli_ray.evals.results.statistics import Headline, blocks, clustered_error, resampled, scores
from cli_ray.evals.score import countable
from cli_ray.evals.scoring.means import percent


class StandIn(BaseModel):
    """What rules give where no judge was asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    """What the rules are."""
    value: float
    """The headline with the rules' scores in place of the missing ones."""
    standard_error: float | None
    n: int
    """Samples scored by rules."""


class Row(BaseModel):
    """A benchmark in the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    title: str
    metric: str
    """Name of the headline."""
    value: float | None
    """The headline, in percent or points; None when nothing is scored."""
    standard_error: float | None
    """In the units of the value; None when fewer than two independent samples are scored."""
    full_marks: float
    """What the headline can reach."""
    linear: bool = False
    """Whether the headline is 100 times the mean score, so that rows compare without the benchmark."""
    official: int
    """Items of the official set; a row of fewer is of a part of it, or of other items."""
    where: str
    """Where the items lie."""
    decoding: str
    n: int
    """Items of the benchmark (of the limit, if there is one)."""
    n_found: int
    """Items that have a record."""
    n_scored: int
    """Samples that count: scored, as all of their unit are."""
    unparsed: int
    truncated: int
    errors: int
    unjudged: int
    metrics: dict[str, float]
    prompts: Prompts = "lmms-eval"
    profile: Profile
    judge: str
    """Name of the judge; empty for benchmarks that need none and when there is none."""
    judge_prompt: str
    """Hash of what it is asked."""
    judge_decoding: str = ""
    """How its answers were drawn, such as `temperature 0`; empty where that is not known."""
    stand_in: StandIn | None
    """Where samples are unjudged."""
    references: dict[str, float]
    complete: bool
    """Whether every item has a record and none is an error."""
    doubtful: bool = False
    """Whether the headline is beyond what it can honestly be."""
    notes: tuple[str, ...] = ()
    """How the protocol departs from the authors'."""
    service: Service | None = None
    """Of a model behind an endpoint."""


def row(
    benchmark: Benchmark,
    samples: Sequence[ScoredItem],
    expected: int,
    profile: Profile,
    judge_name: str = "",
    judge_prompt: str = "",
    *,
    judge_decoding: str = "",
    decoding: str = "",
    where: str = "",
    service: Service | None = None,
) -> Row:
    """The row of a benchmark; the order of the samples does not matter.

    Args:
        expected: items of the benchmark, with or without a record.
        judge_name: of the run; ignored for benchmarks that need no judge.
        judge_prompt: hash of what the judge is asked.
        judge_decoding: how its answers were drawn.
        decoding: of the replies.
        where: the items lie.
        service: that gave the replies, of a model behind an endpoint.

    Raises:
        UserError: a sample id occurs twice, or there are more samples than items.
    """
    samples = sorted(samples, key=lambda sample: sample.id)
    _check(benchmark, samples, expected)
    states = Counter(sample.state for sample in samples)
    # Those that rules decide are no fair sample of a benchmark whose others wait for a judge.
    counted = [] if states["unjudged"] and not judge_name else countable(samples)
    metrics = benchmark.aggregator(profile)(counted) if counted else {}
    value = metrics.get(benchmark.headline_of(profile))
    return Row(
        benchmark=benchmark.name,
        title=benchmark.title,
        metric=benchmark.headline_of(profile),
        value=value,
        standard_error=standard_error(benchmark, counted, profile),
        full_marks=benchmark.full_marks,
        linear=benchmark.is_linear(profile),
        official=expected if benchmark.count is None else benchmark.count,
        where=where,
        decoding=service.decoding if service else decoding,
        n=expected,
        n_found=len(samples),
        n_scored=len(counted),
        unparsed=states["unparsed"],
        truncated=sum(sample.truncated for sample in samples),
        errors=states["error"],
        unjudged=states["unjudged"],
        metrics=metrics,
        prompts=benchmark.prompts,
        profile=profile,
        judge=judge_name if benchmark.judge else "",
        judge_prompt=judge_prompt if benchmark.judge else "",
        judge_decoding=judge_decoding if benchmark.judge else "",
        stand_in=_stand_in(benchmark, samples, profile),
        references=dict(benchmark.references),
        complete=len(samples) == expected and not states["error"],
        doubtful=value is not None and benchmark.doubtful_above is not None and value > benchmark.doubtful_above,
        notes=benchmark.notes_of(profile),
        service=service,
    )


def is_official(row: Row) -> bool:
    """Whether the row is of the official set, so that published numbers stand beside it."""
    return row.n == row.official


def waits_for_judge(row: Row) -> bool:
    """Whether no judge was asked about samples that need one; such a row has no value."""
    return row.unjudged > 0 and not row.judge


def headline(benchmark: Benchmark, profile: Profile) -> Headline:
    """The headline as a function of samples, none of which lacks a score; None for no samples."""
    aggregate, metric = benchmark.aggregator(profile), benchmark.headline_of(profile)
    return lambda samples: aggregate(samples).get(metric) if samples else None


def standard_error(benchmark: Benchmark, samples: Sequence[ScoredItem], profile: Profile) -> float | None:
    """The standard error of the headline over samples that all count, in its units.

    Of a mean, see `clustered_error`; otherwise the standard deviation of the headline over resamples by clusters.
    None for fewer than two clusters.
    """
    if benchmark.is_linear(profile):
        return _percent_error(samples)
    labels = blocks(samples)
    if labels.max(initial=-1) < 1:
        return None
    values = resampled(headline(benchmark, profile), [samples], labels)
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _percent_error(samples: Sequence[ScoredItem]) -> float | None:
    error = clustered_error(scores(samples), blocks(samples))
    return None if error is None else 100 * error


def _stand_in(benchmark: Benchmark, samples: Sequence[ScoredItem], profile: Profile) -> StandIn | None:
    """The headline with rules in place of the judge; the plain mean where it needs more than a score."""
    unjudged = {sample.id for sample in samples if sample.state == "unjudged" and sample.stand_in is not None}
    filled = [replace(sample, score=sample.stand_in) if sample.id in unjudged else sample for sample in samples]
    counted = countable(filled)
    ruled = sum(sample.id in unjudged for sample in counted)
    if not ruled:
        return None
    try:
        return StandIn(
            label=benchmark.stand_in,
            value=benchmark.aggregator(profile)(counted)[benchmark.headline_of(profile)],
            standard_error=standard_error(benchmark, counted, profile),
            n=ruled,
        )
    except KeyError:  # the aggregation asks for a part that only a judge can give
        return StandIn(
            label=f"{benchmark.stand_in}, plain mean in percent",
            value=percent(counted),
            standard_error=_percent_error(counted),
            n=ruled,
        )


def _check(benchmark: Benchmark, samples: Sequence[ScoredItem], expected: int) -> None:
    twice = [sample_id for sample_id, times in Counter(sample.id for sample in samples).items() if times > 1]
    if twice:
        named = ", ".join(repr(sample_id) for sample_id in twice[:5])
        raise UserError(
            f"{benchmark.name}: {len(twice)} sample ids occur more than once, such as {named}: each item may be "
            "scored only once; remove the repeated rows from the data"
        )
    if len(samples) > expected:
        raise UserError(
            f"{benchmark.name}: {len(samples):,} samples for {expected:,} items: the records are of another set or "
            "--limit; name another --output"
        )
