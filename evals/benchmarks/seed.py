"""SEED-Bench: multiple choice on twelve abilities, the nine about single images (arXiv 2307.16125)."""

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.prompts import LETTER
from cli_ray.evals.scoring.choice import graded, lettered, lines, stated
from cli_ray.evals.scoring.means import accuracy

CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")


def options(doc: Doc) -> dict[str, str]:
    return lettered([doc[choice] for choice in CHOICES])


def _prompt(doc: Doc) -> str:
    return f"{doc['question']}\n{lines(options(doc))}{LETTER}"


def _score(doc: Doc, reply: str) -> Graded:
    """The first character of the reply, be it that of a word, is the letter."""
    letter = reply[:1].upper()
    return graded(gold(doc), letter if letter in options(doc) else "", "first character")


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(gold(doc), *stated(reply, options(doc)))


def gold(doc: Doc) -> str:
    return str(doc["answer"].strip().upper())


SEED_IMAGE = Benchmark(
    name="seed-image",
    title="SEED-Bench image",
    source=Source(ids=("lmms-lab-encoder/SEED-Bench", "lmms-lab/SEED-Bench"), split="test"),
    count=14233,
    columns=("question_id", "question", *CHOICES, "answer", "data_type"),
    keep=lambda doc: bool(doc["data_type"] == "image"),
    sample_id=lambda doc, row: f"{doc['question_id']}:{row}",
    prompt=_prompt,
    max_new_tokens=1024,
    score=_score,
    strict=_strict,
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
    references={"LLaVA-1.5-7B": 66.1, "LLaVA-OneVision-0.5B": 65.5, "LLaVA-OneVision-7B": 75.4},
)
