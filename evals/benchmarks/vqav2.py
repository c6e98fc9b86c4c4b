"""VQAv2: questions on photographs, balanced against guessing (arXiv 1612.00837)."""

from dataclasses import replace

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source, Submission
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.scoring.means import accuracy
from cli_ray.evals.scoring.vqa import agreement_of_entries, short_normal
from cli_ray.evals.submission import evalai, hidden

HUB = ("lmms-lab-encoder/VQAv2", "lmms-lab/VQAv2")


def _prompt(doc: Doc) -> str:
    return f"{doc['question']}{SHORT}"


def _score(doc: Doc, reply: str) -> Graded:
    entries = [{**entry, "answer": short_normal(entry["answer"])} for entry in doc["answers"]]
    parsed = short_normal(reply)
    return Graded(agreement_of_entries(parsed, entries), parsed, "text", "ok" if reply else "unparsed")


VQAV2_VAL = Benchmark(
    name="vqav2-val",
    title="VQAv2 val",
    source=Source(ids=HUB, split="validation"),
    count=214354,
    columns=("question_id", "question", "answers"),
    sample_id=lambda doc, row: str(doc["question_id"]),
    prompt=_prompt,
    max_new_tokens=16,
    score=_score,
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
)

# The server wants the answers of the whole test set, and scores test-dev, to which the reference belongs, or test-std.
VQAV2_TEST = replace(
    VQAV2_VAL,
    name="vqav2-test",
    title="VQAv2 test",
    source=Source(ids=HUB, split="test"),
    count=447793,
    columns=("question_id", "question"),
    facets=("question_id",),
    score=hidden,
    references={"LLaVA-1.5-7B": 78.5},
    submission=Submission("vqav2_test.json", evalai, "https://eval.ai/web/challenges/challenge-page/830"),
)
