"""MathVerse: each problem in five versions that move its content from text into the figure (arXiv 2403.14624)."""

import re
from collections.abc import Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Judge, Messages, Metrics, ScoredItem, Source
from cli_ray.evals.prompts import template
from cli_ray.evals.scoring.letter import find_letter
from cli_ray.evals.scoring.means import accuracy, grouped, percent


def _prompt(doc: Doc) -> str:
    return str(doc["query_wo"]).strip()


def _rules(doc: Doc, reply: str) -> Graded:
    """The stand-in: the letter of the option, or the last number; the whole reply where the gold answer is neither."""
    gold = str(doc["answer"]).strip()
    if doc["question_type"] == "multi-choice":
        parsed, rule = find_letter(reply, "ABCDEF")
    elif _numbers(gold):
        parsed, rule = next(iter(_numbers(reply)[-1:]), ""), "last number"
        gold = _numbers(gold)[-1]
    else:
        parsed, rule = reply.lower().rstrip("."), "whole reply"
        gold = gold.lower()
    return Graded(float(parsed == gold), parsed, rule, "ok" if parsed else "unparsed")


def _numbers(text: str) -> list[str]:
    """The numbers in a text, each written in the shortest way."""
    return [f"{float(number):g}" for number in re.findall(r"-?\d+(?:\.\d+)?|-?\.\d+", text.replace(",", ""))]


def _ask(doc: Doc, reply: str) -> Messages:
    question = template("mathverse").format(
        question=doc["question_for_eval"], answer=doc["answer"], prediction=reply, positive="1", negative="0"
    )
    return ({"role": "user", "content": question},)


def _read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """As upstream: 1 if there is a 1 anywhere. Neither digit is nonsense, which upstream takes for 0."""
    if not set(answer) & {"0", "1"}:
        return None
    return Graded(float("1" in answer), reply, "judge")


_MARK = r"([01])(?:\.0)?(?![\w.]*\w)(?!\.\d)"
_BEGINS = re.compile(rf"[\s\"'(\[{{]*{_MARK}(?=\s*(?:$|[^\w\s/+*=^%<>]|(?:because|since|as)\b|\n))")
_CALLED = re.compile(
    rf"\b(?:score|verdict|judge?ment|correctness|grade|rating|evaluation)\b[\"']?\s*(?:is|:|=)?\s*[\"'(\[]*{_MARK}"
    r"(?!\s*(?:/|or\b|out of\b))",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"\W*{_MARK}\W*")


def _strict_read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """The mark that the answer begins with, that it calls one, or that is its last line; nonsense if these differ."""
    lines = [line for line in re.sub(r"[*_`]", "", answer).splitlines() if line.strip()]
    matches = (
        [_BEGINS.match(lines[0]), _ALONE.fullmatch(lines[-1]), *_CALLED.finditer("\n".join(lines))] if lines else []
    )
    marks = {match[1] for match in matches if match}
    return Graded(float(marks.pop()), reply, "judge") if len(marks) == 1 else None


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    groups = grouped(samples, lambda sample: str(sample.facets["problem_version"]))
    groups |= grouped(samples, lambda sample: str(sample.facets["metadata"].get("subfield")))
    return accuracy(samples) | {f"accuracy/{name}": percent(group) for name, group in groups.items()}


MATHVERSE = Benchmark(
    name="mathverse-testmini",
    title="MathVerse testmini",
    source=Source(ids=("CaraJ/MathVerse-lmmseval",), config="testmini", split="testmini"),
    count=3940,
    columns=(
        "sample_index", "problem_index", "problem_version", "question_for_eval", "query_wo", "answer", "question_type",
        "metadata",
    ),
    sample_id=lambda doc, row: str(doc["sample_index"]),
    prompt=_prompt,
    question="query_wo",
    max_new_tokens=16384,
    score=_rules,
    stand_in="letter or last number",
    judge=Judge(_ask, _read, max_tokens=1024, strict_read=_strict_read),
    facets=("problem_version", "metadata"),
    cluster=lambda doc: str(doc["problem_index"]),
    aggregate=_aggregate,
    headline="accuracy",
    linear=True,
)  # fmt: skip
