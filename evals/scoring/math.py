"""Answers of MathVista as numbers, lists or options: as `mathvista/mathvista_evals.py` of lmms-eval 0.7.3."""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from rapidfuzz.distance import Levenshtein

from cli_ray.evals.benchmark import Doc
from cli_ray.evals.scoring.choice import lettered, stated

NO_ANSWER = re.compile(
    r"(?:none|n/?a|null|unanswerable|unknown|not (?:given|provided|specified|answered|applicable)"
    r"|(?:there is )?no (?:\w+ )?(?:answer|number|value|option)(?: is| was)?"
    r"(?: (?:given|found|provided|stated|present))?)\W*",
    re.IGNORECASE,
)
"""What a judge says that finds no answer in a reply."""
_NUMBER = r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+"


def direct(doc: Doc, reply: str) -> str | None:
    """The answer, if the whole reply is one: the text of an option, or a number of the type asked for."""
    if doc["question_type"] == "multi_choice" and reply in doc["choices"]:
        return reply
    with suppress(ValueError):
        if doc["answer_type"] == "integer":
            return str(int(reply))
        if doc["answer_type"] == "float":
            return str(float(reply))
    return None


def extracted(doc: Doc, reply: str) -> tuple[str, str]:
    """The stand-in for a judge's extraction, and its rule: the letter stated or option quoted, the list, or the number
    after the last `answer is` or `=`, else the last number. Both empty when there is none."""
    if doc["question_type"] == "multi_choice":
        return stated(reply, lettered(doc["choices"]))
    if doc["answer_type"] == "list":
        lists = re.findall(r"\[[^\[\]]*\]", reply)
        return (lists[-1], "last list") if lists else ("", "")
    tail = re.split(r"answer(?: is|:)|=", reply, flags=re.IGNORECASE)[-1]
    if tail != reply and (number := re.search(_NUMBER, tail)):
        return number[0].replace(",", ""), "number after answer"
    numbers = re.findall(_NUMBER, reply)
    return (numbers[-1].replace(",", ""), "last number") if numbers else ("", "")


def the_only(doc: Doc, extraction: str) -> str:
    """The letter of the one option that an extraction names or quotes, its one list, or its one number; empty where it
    has none or several."""
    if doc["question_type"] == "multi_choice":
        return stated(extraction, lettered(doc["choices"]))[0]
    if doc["answer_type"] == "list":
        answers = re.findall(r"\[[^\[\]]*\]", extraction)
    else:
        numbers = re.findall(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?|-?\.\d+", extraction)
        answers = [number.replace(",", "") for number in numbers]
    return answers[0] if len(answers) == 1 else ""


def normalised(doc: Doc, extraction: str, *, strict: bool = False) -> str | None:
    """The extraction in the form of the gold answer, or None if it has not its type.

    An option is named by its letter, or else the one nearest to the extraction is taken. Upstream hands the column
    `precision`, which holds 1.0 or 2.0, to `round` as it is; that takes whole numbers only, so that every float answer
    counts as wrong. `strict` makes a whole number of it.
    """
    if doc["question_type"] == "multi_choice":
        return _option(extraction.strip(), doc["choices"])
    with suppress(ValueError, OverflowError, TypeError):
        if doc["answer_type"] == "integer":
            return str(int(float(extraction)))
        if doc["answer_type"] == "float":
            precision = doc["precision"]
            return str(round(float(extraction), int(precision) if strict else precision))
        return extraction
    return None


def _option(extraction: str, choices: Sequence[str]) -> str:
    letter = option_letter(extraction)
    options = lettered(choices)
    return options[letter] if letter in options else min(choices, key=partial(Levenshtein.distance, letter))


def option_letter(extraction: str) -> str:
    """`B` of an extraction such as `(b) a dog`; another extraction as it is."""
    named = re.search(r"\(([a-zA-Z])\)", extraction)
    return named[1].upper() if named else extraction


def equal(doc: Doc, answer: str | None) -> bool:
    """Whether a normalised answer is the gold one."""
    return str(answer).strip() == str(doc["answer"]).strip()
