"""RealWorldQA: questions on photographs, many from cars (xAI, 2024). Options and instruction are in the question."""

from collections.abc import Callable

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.scoring.choice import graded
from cli_ray.evals.scoring.letter import find_letter
from cli_ray.evals.scoring.means import accuracy
from cli_ray.evals.scoring.statement import read_letter, unwrapped


def _prompt(doc: Doc) -> str:
    return str(doc["question"].strip())


def graded_by(
    doc: Doc, reply: str, read: Callable[[str, str], tuple[str, str]], answer_of: Callable[[str], str] = str
) -> Graded:
    """Equality of letters where the gold answer is one, else of texts but for case and dots at the end."""
    gold = doc["answer"].strip()
    if gold.upper() in tuple("ABCD"):
        return graded(gold.upper(), *read(reply, "ABCD"))
    text = answer_of(reply).lower().rstrip(".")
    return Graded(float(text == gold.lower()), text, "text", "ok" if text else "unparsed")


def _score(doc: Doc, reply: str) -> Graded:
    return graded_by(doc, reply, find_letter)


def _strict(doc: Doc, reply: str) -> Graded:
    return graded_by(doc, reply, read_letter, unwrapped)


REALWORLDQA = Benchmark(
    name="realworldqa",
    title="RealWorldQA",
    source=Source(ids=("lmms-lab-encoder/RealWorldQA", "lmms-lab/RealWorldQA", "xai-org/RealworldQA"), split="test"),
    count=765,
    columns=("question", "answer"),
    prompt=_prompt,
    max_new_tokens=16,
    score=_score,
    strict=_strict,
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
    references={"LLaVA-OneVision-0.5B": 55.6, "LLaVA-OneVision-7B": 66.3},
)
