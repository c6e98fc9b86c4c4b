"""DocVQA: questions on scanned documents (arXiv 2007.00398). InfoVQA: on infographics (arXiv 2104.12756)."""

from collections.abc import Sequence
from dataclasses import replace

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source, Submission
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.scoring.means import percent
from cli_ray.evals.scoring.text import anls
from cli_ray.evals.submission import hidden, rrc

HUB = ("lmms-lab-encoder/DocVQA", "lmms-lab/DocVQA")


def _prompt(doc: Doc) -> str:
    return f"{doc['question']}{SHORT}"


def _score(doc: Doc, reply: str) -> Graded:
    return anls(doc["answers"], reply)


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    return {"anls": percent(samples)}


DOCVQA_VAL = Benchmark(
    name="docvqa-val",
    title="DocVQA val",
    source=Source(ids=HUB, split="validation", config="DocVQA"),
    count=5349,
    columns=("questionId", "question", "answers"),
    sample_id=lambda doc, row: str(doc["questionId"]),
    prompt=_prompt,
    max_new_tokens=32,
    score=_score,
    aggregate=_aggregate,
    headline="anls",
    linear=True,
    references={"LLaVA-1.5-7B": 21.5, "LLaVA-OneVision-0.5B": 73.7, "LLaVA-OneVision-7B": 90.2},
)

DOCVQA_TEST = replace(
    DOCVQA_VAL,
    name="docvqa-test",
    title="DocVQA test",
    source=Source(ids=HUB, split="test", config="DocVQA"),
    count=5188,
    columns=("questionId", "question"),
    facets=("questionId",),
    score=hidden,
    references={"LLaVA-OneVision-0.5B": 70.0, "LLaVA-OneVision-7B": 87.5},
    submission=Submission("docvqa_test.json", rrc, "https://rrc.cvc.uab.es/?ch=17, task 1"),
)

INFOVQA_VAL = replace(
    DOCVQA_VAL,
    name="infovqa-val",
    title="InfoVQA val",
    source=Source(ids=HUB, split="validation", config="InfographicVQA"),
    count=2801,
    references={"LLaVA-OneVision-0.5B": 46.3, "LLaVA-OneVision-7B": 70.7},
)

INFOVQA_TEST = replace(
    DOCVQA_TEST,
    name="infovqa-test",
    title="InfoVQA test",
    source=Source(ids=HUB, split="test", config="InfographicVQA"),
    count=3288,
    references={"LLaVA-OneVision-0.5B": 41.8, "LLaVA-OneVision-7B": 68.8},
    submission=Submission("infovqa_test.json", rrc, "https://rrc.cvc.uab.es/?ch=17, task 3"),
)
