"""VizWiz-VQA: questions that blind people asked about their photographs (arXiv 1802.08218)."""

from dataclasses import replace

from evals.benchmark import Benchmark, Doc, Graded, Source, Submission
from evals.scoring.means import accuracy
from evals.scoring.vqa import graded, normal
from evals.submission import normalised, vizwiz
from evals.wording import SHORT

HUB = ("lmms-lab-encoder/VizWiz-VQA", "lmms-lab/VizWiz-VQA")
REFUSAL = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."


def _prompt(doc: Doc) -> str:
    return f"{doc['question'].capitalize()}{REFUSAL}{SHORT}"


def _score(doc: Doc, reply: str) -> Graded:
    return graded(doc["answers"], reply)


VIZWIZ_VAL = Benchmark(
    name="vizwiz-val",
    title="VizWiz val",
    source=Source(ids=HUB, split="val"),
    count=4319,
    columns=("question_id", "question", "answers"),
    sample_id=lambda doc, row: str(doc["question_id"]),
    prompt=_prompt,
    max_new_tokens=1024,
    score=_score,
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
)

VIZWIZ_TEST = replace(
    VIZWIZ_VAL,
    name="vizwiz-test",
    title="VizWiz test",
    source=Source(ids=HUB, split="test"),
    count=8000,
    columns=("question_id", "question"),
    facets=("question_id",),
    score=normalised(normal),
    references={"LLaVA-1.5-7B": 50.0},
    submission=Submission("vizwiz_test.json", vizwiz, "https://eval.ai/web/challenges/challenge-page/2185"),
)
