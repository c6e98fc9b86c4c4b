"""AI2D: questions on diagrams of school science (arXiv 1603.07396)."""

import re

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.prompts import LETTER
from cli_ray.evals.scoring.choice import graded, indexed, lettered, lines, stated
from cli_ray.evals.scoring.means import accuracy
from cli_ray.evals.scoring.reasoning import without_reasoning
from cli_ray.evals.scoring.text import without_punctuation


def _prompt(doc: Doc) -> str:
    return f"{doc['question']}\n{lines(lettered(doc['options']))}{LETTER}"


def _score(doc: Doc, reply: str) -> Graded:
    """A capital and a dot at the start, or else all but the reasoning, has to be the letter.

    As upstream's filter looks at the start before reasoning is cut, `B. a dog` behind reasoning is none.
    """
    start = re.match(r"([A-Z])\.", reply)
    letter = without_punctuation(start[1] if start else without_reasoning(reply)).upper()
    known = letter if letter in lettered(doc["options"]) else ""
    return graded(indexed(doc), known, "letter at start" if start else "letter alone")


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(indexed(doc), *stated(reply, lettered(doc["options"])))


AI2D = Benchmark(
    name="ai2d",
    title="AI2D",
    source=Source(ids=("lmms-lab-encoder/ai2d", "lmms-lab/ai2d"), split="test"),
    count=3088,
    columns=("question", "options", "answer"),
    prompt=_prompt,
    gold=indexed,
    max_new_tokens=16,
    score=_score,
    scores_reasoning=True,
    strict=_strict,
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
    references={"LLaVA-1.5-7B": 55.0, "LLaVA-OneVision-0.5B": 57.1, "LLaVA-OneVision-7B": 81.4},
)
