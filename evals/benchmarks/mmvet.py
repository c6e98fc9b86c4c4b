"""MM-Vet: open questions that need several of six abilities, graded by a judge (arXiv 2308.02490)."""

import re
from collections.abc import Sequence
from contextlib import suppress

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Judge, Messages, Metrics, ScoredItem, Source
from cli_ray.evals.prompts import template
from cli_ray.evals.scoring.means import percent

_GRADE = (
    r"(1\.0+|0?\.\d+|0\.\d+|[01](?=\.?\s*(?:$|[^\w\s.]|\n|(?:because|since|as)\b)))(?: ?/ ?1(?:\.0+)?)?"
    r"(?![\d.]*\d|\w|%| ?(?:/|or\b|of\b|out of\b|to\b|- ?\d))"
)
"""A number of 0 to 1 that is no part of another, of no range, and counts nothing."""
_CALLED = re.compile(rf"(?i:\b(?:correctness|score|grade|rating)\b)[^.\d\n]{{0,40}}?{_GRADE}")


def _prompt(doc: Doc) -> str:
    return (
        "First please perform reasoning, and think step by step to provide best answer to the following question: \n\n"
        f"{doc['question']}"
    )


def _contained(doc: Doc, reply: str) -> Graded:
    """The stand-in: the share of parts joined by <AND> that the reply contains, the best of those joined by <OR>."""
    lower = reply.lower()
    shares = []
    for way in str(doc["answer"]).lower().split("<or>"):
        parts = [part.strip() for part in way.split("<and>")]
        shares.append(sum(part in lower for part in parts) / len(parts))
    return Graded(max(shares), reply, "gold answer contained", "ok" if reply else "unparsed")


def _ask(doc: Doc, reply: str) -> Messages:
    gold = str(doc["answer"]).replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    return ({"role": "user", "content": f"{template('mm_vet')}\n\n{doc['question']} | {gold} | {reply} |"},)


def _read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """The first word as a grade of 0 to 1."""
    with suppress(ValueError):
        grade = float(answer.strip().split(" ")[0])
        if 0 <= grade <= 1:
            return Graded(grade, reply, "judge")
    return None


def _strict_read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """The grade that the answer begins with, or else the only one that it calls so."""
    text = re.sub(r"[*_`|]", "", answer).strip()
    begins = re.match(rf"[\s\"'(\[]*{_GRADE}", text)
    grades = {float(begins[1])} if begins else {float(grade) for grade in _CALLED.findall(text)}
    return Graded(grades.pop(), reply, "judge") if len(grades) == 1 else None


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """The mean grade over all, by ability, and by combination of abilities as `score/ocr+math`."""
    groups: dict[str, list[ScoredItem]] = {}
    for sample in samples:
        abilities = str(sample.facets["capability"]).split(",")
        for name in dict.fromkeys((*abilities, "+".join(sorted(abilities)))):
            groups.setdefault(f"score/{name}", []).append(sample)
    return {"score": percent(samples)} | {name: percent(group) for name, group in sorted(groups.items())}


MMVET = Benchmark(
    name="mm-vet",
    title="MM-Vet",
    source=Source(ids=("lmms-lab-encoder/MMVet", "lmms-lab/MMVet"), split="test"),
    count=218,
    columns=("question_id", "question", "answer", "capability"),
    sample_id=lambda doc, row: str(doc["question_id"]),
    prompt=_prompt,
    max_new_tokens=1024,
    score=_contained,
    stand_in="gold answer contained in the reply",
    judge=Judge(_ask, _read, max_tokens=128, verdict_first=True, strict_read=_strict_read),
    facets=("capability",),
    aggregate=_aggregate,
    headline="score",
    linear=True,
    references={"LLaVA-1.5-7B": 31.1, "LLaVA-OneVision-0.5B": 29.1, "LLaVA-OneVision-7B": 57.5},
)
