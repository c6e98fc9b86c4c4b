"""ChartQA: questions on charts, half written by people (arXiv 2203.10244)."""

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.scoring.means import accuracy_by
from cli_ray.evals.scoring.statement import unwrapped
from cli_ray.evals.scoring.text import relaxed, relaxed_as_written


def _prompt(doc: Doc) -> str:
    return f"{doc['question']}\nAnswer the question with a single word."


def _score(doc: Doc, reply: str) -> Graded:
    return relaxed(doc["answer"], reply)


def _strict(doc: Doc, reply: str) -> Graded:
    return relaxed_as_written(doc["answer"], unwrapped(reply))


CHARTQA = Benchmark(
    name="chartqa",
    title="ChartQA",
    source=Source(ids=("lmms-lab-encoder/ChartQA", "lmms-lab/ChartQA"), split="test"),
    count=2500,
    columns=("question", "answer", "type"),
    prompt=_prompt,
    max_new_tokens=16,
    score=_score,
    strict=_strict,
    facets=("type",),
    aggregate=accuracy_by("type"),
    headline="accuracy",
    linear=True,
    references={"LLaVA-1.5-7B": 17.8, "LLaVA-OneVision-0.5B": 61.4, "LLaVA-OneVision-7B": 80.0},
)
