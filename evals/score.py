"""Scores of replies: pure, without torch, ray, files or network.

`score` is for callers who have documents and replies; the scorer of an evaluation calls `score_one` item by item.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import (
    Benchmark,
    Doc,
    Graded,
    Messages,
    Metrics,
    Profile,
    Prompts,
    Reply,
    ScoredItem,
    State,
)
from cli_ray.evals.scoring.reasoning import without_reasoning
from cli_ray.evals.scoring.statement import unwrapped
from cli_ray.evals.suite import benchmark as named

AskJudge = Callable[[Messages], str | None]
"""The answer of a judge; None when it could not be had."""


@dataclass(frozen=True)
class Scored:
    """The outcome of a benchmark."""

    samples: list[ScoredItem]
    metrics: Metrics
    """Over the samples that have a score; empty when none has."""


def score(
    name: str,
    docs: Sequence[Doc],
    replies: Sequence[str | Reply],
    judge: AskJudge | None = None,
    *,
    prompts: Prompts = "lmms-eval",
    profile: Profile | None = None,
) -> Scored:
    """Scores the replies to the documents of a benchmark. Documents are never changed.

    Args:
        name: of the benchmark, such as `docvqa-val`.
        docs: rows in the official columns; images may be absent.
        replies: one for each document.
        judge: asked for the replies of judged benchmarks; without it they are `unjudged`.
        prompts: the kit whose prompts they answer.
        profile: which reading of replies; that of the kit without.

    Raises:
        UserError: there is no such benchmark or it has no such prompts, there are not as many replies as documents, or
            a document lacks a column.
    """
    benchmark = named(name, prompts)
    profile = profile or ("vlmevalkit" if prompts == "vlmevalkit" else "lmms-eval/0.7.3")
    if len(docs) != len(replies):
        raise UserError(f"{name}: {len(replies)} replies for {len(docs)} documents: give one for each")
    samples = []
    for row, (doc, reply) in enumerate(zip(docs, replies, strict=True)):
        missing = [column for column in benchmark.columns if column not in doc]
        if missing:
            raise UserError(f"{name}: document {row} lacks the columns {', '.join(missing)}")
        reply = Reply(reply) if isinstance(reply, str) else reply
        samples.append(score_one(benchmark, doc, benchmark.sample_id(doc, row), reply, judge, profile))
    return Scored(samples, metrics(benchmark, samples, profile))


def score_one(
    benchmark: Benchmark,
    doc: Doc,
    sample_id: str,
    reply: Reply,
    judge: AskJudge | None,
    profile: Profile,
    image_hash: str = "",
) -> ScoredItem:
    """Scores one reply.

    Args:
        image_hash: of the images of the item; equal ones make a cluster unless the benchmark says otherwise.
    """
    graded, state, stand_in = _graded(benchmark, doc, reply, judge, profile)
    unit = benchmark.unit(doc) if benchmark.unit else sample_id
    return ScoredItem(
        id=sample_id,
        score=graded.score,
        parsed=graded.parsed,
        rule=graded.rule,
        state=state,
        truncated=reply.finish == "length",
        stand_in=stand_in,
        parts=graded.parts,
        facets={column: doc[column] for column in benchmark.facets},
        unit=unit,
        cluster=benchmark.cluster(doc) if benchmark.cluster else image_hash or unit,
    )


def _graded(
    benchmark: Benchmark, doc: Doc, reply: Reply, judge: AskJudge | None, profile: Profile
) -> tuple[Graded, State, float | None]:
    """What the scorer made of the reply, the state of the sample, and the stand-in of an unjudged one."""
    if reply.finish == "error":
        return Graded(None, rule="generation failed"), "error", None
    text = without_reasoning(reply.text)
    ruled = _ruled(benchmark, doc, reply.text.strip(), profile)
    graded: Graded = ruled
    question = benchmark.judge and benchmark.judge.prompt(doc, text)
    if benchmark.judge and question:
        answer = judge(question) if judge else None
        verdict = None if answer is None else benchmark.judge.reader(profile)(doc, text, answer)
        if verdict is None:
            rule = "no judge" if judge is None else "judge failed" if answer is None else "judge answered nonsense"
            return Graded(None, ruled.parsed, rule), "unjudged", ruled.score
        graded = verdict
    return graded, "truncated" if graded.state == "ok" and reply.finish == "length" else graded.state, None


def _ruled(benchmark: Benchmark, doc: Doc, reply: str, profile: Profile) -> Graded:
    """What the rules of a profile make of a stripped reply."""
    text = without_reasoning(reply)
    if profile == "strict":
        return benchmark.strict(doc, text) if benchmark.strict else benchmark.score(doc, unwrapped(text))
    return benchmark.score(doc, reply if benchmark.scores_reasoning else text)


def countable(samples: Iterable[ScoredItem]) -> list[ScoredItem]:
    """The samples with a score, without those of units in which another one has none."""
    samples = list(samples)
    broken = {sample.unit for sample in samples if sample.score is None}
    return [sample for sample in samples if sample.unit not in broken]


def metrics(benchmark: Benchmark, samples: Sequence[ScoredItem], profile: Profile) -> Metrics:
    """The metrics of a benchmark; empty when nothing can be counted."""
    counted = countable(samples)
    return benchmark.aggregator(profile)(counted) if counted else {}
