"""LLaVA-Bench in the Wild: a judge rates GPT-4's reference answer and the reply, 1 to 10 each (arXiv 2304.08485)."""

import re
from collections.abc import Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Judge, Messages, Metrics, ScoredItem, Source
from cli_ray.evals.prompts import template
from cli_ray.evals.scoring.means import grouped
from cli_ray.evals.scoring.text import rouge_l

_NUMBER = r"-?\d+(?:\.\d+)?"
_POINTS = r"(10(?:\.0+)?|\d(?:\.\d+)?)(?: ?/ ?10)?"
_LINE = re.compile(
    rf"\s*(?:(?:overall )?(?:scores?|ratings?)\W*)?[\[(]?{_POINTS}[\s,;|&]+(?:and )?{_POINTS}[\])]?[.,;]?(?:\n|$)",
    re.IGNORECASE,
)
"""A first line of two scores, as the judge is asked for."""
_LABELLED = tuple(
    re.compile(
        rf"(?:(?:assistant|answer|response) ?#?{number}|[\"']{number}[\"'])[\"']?(?:'s)?"
        rf"(?: (?:overall )?(?:score|rating))? ?(?:[:=(-]|is\b|gets\b|receives\b) ?[\"']?{_POINTS}"
        r"(?=[\"')\]}]?\s*(?:$|[,;|\n}]|\.(?!\d)|and\b))",
        re.IGNORECASE,
    )
    for number in (1, 2)
)
"""The score of each assistant with its name, such as `Assistant 1: 8` or `"1": 8`."""


def _likeness(doc: Doc, reply: str) -> Graded:
    """The stand-in: ROUGE-L against the reference answer."""
    return Graded(rouge_l(doc["gpt_answer"], reply), reply, "ROUGE-L", "ok" if reply else "unparsed")


def _ask(doc: Doc, reply: str) -> Messages:
    context = doc["caption"] if isinstance(doc["caption"], str) else "\n".join(doc["caption"])
    answers = (
        f"[Assistant {number}]\n{answer}\n\n[End of Assistant {number}]\n\n"
        for number, answer in ((1, doc["gpt_answer"]), (2, reply))
    )
    question = f"[Context]\n{context}\n\n[Question]\n{doc['question']}\n\n{''.join(answers)}"
    return ({"role": "user", "content": f"{question}[System]\n{template('llava_wild')}\n\n"},)


def _read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """The first two numbers of the first line: points of the reference and of the reply."""
    points = [float(number) for number in re.findall(_NUMBER, answer.strip().split("\n")[0])[:2]]
    if len(points) < 2 or not all(0 <= each <= 10 for each in points):
        return None
    return Graded(points[1] / 10, reply, "judge", parts={"reference": points[0]})


def _strict_read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """Two scores of 0 to 10 alone on the first line, or else each with the name of its assistant."""
    text = re.sub(r"[*_`#]", "", answer)
    points = _LINE.match(text)
    scores = list(points.groups()) if points else [score[1] for name in _LABELLED if (score := name.search(text))]
    if len(scores) < 2:
        return None
    return Graded(float(scores[1]) / 10, reply, "judge", parts={"reference": float(scores[0])})


def _relative(samples: Sequence[ScoredItem]) -> float:
    """The points of the replies in percent of those of the references, which stand-ins take for 10; 0 if all are 0."""
    reference = sum(sample.parts.get("reference", 10.0) for sample in samples)
    return 100 * sum(10 * (sample.score or 0.0) for sample in samples) / reference if reference else 0.0


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    groups = grouped(samples, lambda sample: str(sample.facets["category"]))
    return {"relative score": _relative(samples)} | {
        f"relative score/{name}": _relative(group) for name, group in groups.items()
    }


LLAVA_WILD = Benchmark(
    name="llava-wild",
    title="LLaVA-in-the-Wild",
    source=Source(ids=("lmms-lab-encoder/llava-bench-in-the-wild", "lmms-lab/llava-bench-in-the-wild"), split="train"),
    count=60,
    columns=("question_id", "question", "gpt_answer", "caption", "category"),
    sample_id=lambda doc, row: str(doc["question_id"]),
    prompt=lambda doc: str(doc["question"]),
    gold=lambda doc: str(doc["gpt_answer"]),
    max_new_tokens=4096,
    score=_likeness,
    stand_in="ROUGE-L against the reference answer",
    judge=Judge(_ask, _read, max_tokens=1024, verdict_first=True, strict_read=_strict_read),
    facets=("category",),
    aggregate=_aggregate,
    headline="relative score",
    doubtful_above=200.0,
    references={"LLaVA-1.5-7B": 65.4, "LLaVA-OneVision-0.5B": 74.2, "LLaVA-OneVision-7B": 90.7},
)
