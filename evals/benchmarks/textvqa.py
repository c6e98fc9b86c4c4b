"""TextVQA: questions on text in photographs (arXiv 1904.08920)."""

from dataclasses import replace

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source, Submission
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.scoring.means import accuracy
from cli_ray.evals.scoring.vqa import graded, normal
from cli_ray.evals.submission import evalai, normalised

HUB = ("lmms-lab-encoder/textvqa", "lmms-lab/textvqa")


def _prompt(doc: Doc) -> str:
    # `capitalize` makes the rest lower case ("NASA" to "nasa"), as the prompt of lmms-eval does.
    return f"{doc['question'].capitalize()}{SHORT}"


def _score(doc: Doc, reply: str) -> Graded:
    return graded(doc["answers"], reply)


TEXTVQA_VAL = Benchmark(
    name="textvqa-val",
    title="TextVQA val",
    source=Source(ids=HUB, split="validation"),
    count=5000,
    columns=("question_id", "question", "answers"),
    sample_id=lambda doc, row: str(doc["question_id"]),
    prompt=_prompt,
    max_new_tokens=1024,
    score=_score,
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
    # The 58.2 of the LLaVA-1.5 paper is with OCR tokens in the prompt; this is without, as here.
    references={"LLaVA-1.5-7B": 46.0},
)

TEXTVQA_TEST = replace(
    TEXTVQA_VAL,
    name="textvqa-test",
    title="TextVQA test",
    source=Source(ids=HUB, split="test"),
    count=5734,
    columns=("question_id", "question"),
    facets=("question_id",),
    score=normalised(normal),
    references={},
    submission=Submission("textvqa_test.json", evalai, "https://eval.ai/web/challenges/challenge-page/874"),
)
