"""Replies to questions with lettered options: what benchmarks share."""

import re
from collections.abc import Mapping, Sequence

from cli_ray.evals.benchmark import Doc, Graded
from cli_ray.evals.scoring.letter import denials, read_letter
from cli_ray.evals.scoring.option_text import only_option


def lettered(options: Sequence[str]) -> dict[str, str]:
    """The options by letter, from A."""
    return {chr(ord("A") + place): text for place, text in enumerate(options)}


def lines(options: Mapping[str, str]) -> str:
    """A line for each option, such as `A. a dog`."""
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def indexed(doc: Doc) -> str:
    """The gold letter of a question whose column `answer` holds the place of the right option, from 0."""
    return chr(ord("A") + int(doc["answer"]))


def graded(gold: str, letter: str, rule: str) -> Graded:
    """1 if the letter is the gold one; without a letter the reply is unparsed."""
    return Graded(float(letter == gold), letter, rule, "ok" if letter else "unparsed")


def stated(reply: str, options: Mapping[str, str]) -> tuple[str, str]:
    """Our strict reading: the letter that the reply states without doubt, else that of the one option it quotes.

    An option whose letter or text the reply denies, as "not a dog" does, is not quoted.

    Returns:
        The letter and the rule that read it; both empty when neither applies.
    """
    letter, rule = read_letter(reply, tuple(options))
    if letter:
        return letter, rule
    denied = " ".join(denials(reply, (*options, *(text.strip() for text in options.values()))))
    left = {
        letter: text
        for letter, text in options.items()
        if not re.search(rf"\b{letter}\b", denied) and not only_option(denied, {letter: text})
    }
    letter = only_option(reply, left)
    return letter, "option text" if letter else ""
