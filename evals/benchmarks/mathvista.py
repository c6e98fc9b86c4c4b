"""MathVista: mathematics in figures, from 28 older sets and three new ones (arXiv 2310.02255).

Answers are given in many forms, so a judge extracts them; a reply that is nothing but an answer needs none.
Questions are put as in the task `mathvista_testmini_format` of lmms-eval 0.7.3.
"""

from collections.abc import Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Judge, Messages, Metrics, ScoredItem, Source
from cli_ray.evals.prompts import template
from cli_ray.evals.scoring.choice import lettered, lines
from cli_ray.evals.scoring.math import NO_ANSWER, direct, equal, extracted, normalised, option_letter, the_only
from cli_ray.evals.scoring.means import accuracy, percent

_INSTRUCTIONS = {
    "integer": "Answer the question using a single integer number.",
    "float": "Answer the question using a single floating-point number with {} decimal place{}.",
    "list": "Answer the question using a Python list.",
}
_FACETS = ("language", "source", "category", "task", "context", "grade", "skills")
"""Fields of the column `metadata` by which upstream reports."""


def _instruction(doc: Doc) -> str:
    if doc["question_type"] == "multi_choice":
        return "Answer with the option's letter from the given choices directly."
    places = ("two", "s") if doc["precision"] == 2 else ("one", "")
    return _INSTRUCTIONS.get(doc["answer_type"], "").format(*places)


def _prompt(doc: Doc) -> str:
    unit = f" (Unit: {doc['unit']})" if doc["unit"] else ""
    options = lines(lettered(doc["choices"] or ()))
    return "\n".join(part for part in (f"{doc['question']}{unit}", options, _instruction(doc)) if part).strip()


def _graded(doc: Doc, extraction: str, rule: str, *, strict: bool) -> Graded:
    answer = normalised(doc, extraction, strict=strict)
    return Graded(float(equal(doc, answer)), extraction, rule, "unparsed" if answer is None else "ok")


def _scored(doc: Doc, reply: str, *, strict: bool) -> Graded:
    """What rules say: a direct answer is final, anything else is the stand-in for a judge's extraction."""
    whole = direct(doc, reply)
    if whole is not None:
        return _graded(doc, whole, "whole reply", strict=strict)
    extraction, rule = extracted(doc, reply)
    return _graded(doc, extraction, rule, strict=True) if extraction else Graded(0.0, state="unparsed")


def _ask(doc: Doc, reply: str) -> Messages | None:
    """None where the reply is empty, too: upstream then takes the option nearest to nothing, the shortest."""
    if not reply or direct(doc, reply) is not None:
        return None
    content = f"{template('mathvista')}\n\n{doc['query']}\n\n{reply}\n\nExtracted answer: "
    return ({"role": "user", "content": content},)


def _read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """As upstream, which takes anything for an extraction."""
    extraction = answer.strip()
    if not extraction:
        return None
    return _graded(doc, extraction, "judge" if _is_answer(doc, extraction) else "judge, nearest option", strict=False)


def _strict_read(doc: Doc, reply: str, answer: str) -> Graded | None:
    """The one option, number or list in the answer. An answer that there is none makes the reply wrong."""
    extraction = the_only(doc, answer)
    if not extraction and NO_ANSWER.fullmatch(answer.strip()):
        return Graded(0.0, "", "judge finds no answer", "unparsed")
    return _graded(doc, extraction, "judge", strict=True) if extraction else None


def _is_answer(doc: Doc, extraction: str) -> bool:
    """Whether an extraction is no guess: for a choice, an option or its letter."""
    if doc["question_type"] != "multi_choice":
        return True
    return extraction in doc["choices"] or option_letter(extraction) in lettered(doc["choices"])


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    groups: dict[str, list[ScoredItem]] = {}
    for sample in samples:
        types = {key: sample.facets[key] for key in ("question_type", "answer_type")}
        fields = types | {key: sample.facets["metadata"].get(key) for key in _FACETS}
        for key, values in fields.items():
            for value in values if isinstance(values, Sequence) and not isinstance(values, str) else [values]:
                groups.setdefault(f"accuracy/{key}/{value}", []).append(sample)
    return accuracy(samples) | {name: percent(group) for name, group in sorted(groups.items())}


MATHVISTA = Benchmark(
    name="mathvista-testmini",
    title="MathVista testmini",
    source=Source(ids=("AI4Math/MathVista",), split="testmini"),
    count=1000,
    columns=(
        "pid", "question", "query", "choices", "unit", "precision", "answer", "question_type", "answer_type",
        "metadata",
    ),
    image_columns=("decoded_image",),
    sample_id=lambda doc, row: str(doc["pid"]),
    prompt=_prompt,
    max_new_tokens=16384,
    score=lambda doc, reply: _scored(doc, reply, strict=False),
    strict=lambda doc, reply: _scored(doc, reply, strict=True),
    stand_in="answer extracted by rules",
    judge=Judge(_ask, _read, max_tokens=256, strict_read=_strict_read),
    facets=("question_type", "answer_type", "metadata"),
    aggregate=_aggregate,
    headline="accuracy",
    notes=(
        "Questions are put as in `mathvista_testmini_format` of lmms-eval, not with the hints of the authors; an empty "
        "reply is wrong, for which lmms-eval takes the option that is shortest.",
    ),
    upstream_notes=("Float answers count as wrong, as lmms-eval has it.",),
    linear=True,
    references={"LLaVA-1.5-7B": 25.6, "LLaVA-OneVision-0.5B": 34.8, "LLaVA-OneVision-7B": 63.2},
)  # fmt: skip
