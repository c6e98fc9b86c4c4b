"""ScienceQA: questions of school science, those with an image (arXiv 2209.09513)."""

from string import ascii_uppercase

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.prompts import LETTER
from cli_ray.evals.scoring.choice import graded, indexed, lettered, lines, stated
from cli_ray.evals.scoring.means import accuracy


def _prompt(doc: Doc) -> str:
    context = f"Context: {doc['hint']}\n" if doc["hint"] else ""
    return f"{context}{doc['question']}\n{lines(lettered(doc['choices']))}{LETTER}"


def _score(doc: Doc, reply: str) -> Graded:
    """The reply is the letter in either case, or starts with it as a capital and a dot."""
    if len(reply) == 1 and reply.upper() in ascii_uppercase:
        letter, rule = reply.upper(), "letter alone"
    elif reply[:1] in ascii_uppercase and reply[1:2] == ".":
        letter, rule = reply[0], "letter at start"
    else:
        return Graded(0.0, state="unparsed")
    return Graded(float(letter == indexed(doc)), letter, rule)


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(indexed(doc), *stated(reply, lettered(doc["choices"])))


SCIENCEQA_IMG = Benchmark(
    name="scienceqa-img",
    title="ScienceQA-IMG",
    source=Source(ids=("lmms-lab-encoder/ScienceQA", "lmms-lab/ScienceQA"), split="test", config="ScienceQA-IMG"),
    count=2017,
    columns=("question", "choices", "hint", "answer"),
    prompt=_prompt,
    gold=indexed,
    max_new_tokens=16,
    score=_score,
    strict=_strict,
    aggregate=accuracy,
    headline="accuracy",
    linear=True,
    references={"LLaVA-1.5-7B": 66.8, "LLaVA-OneVision-0.5B": 67.2, "LLaVA-OneVision-7B": 96.0},
)
