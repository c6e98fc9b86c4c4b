"""Replies to questions with lettered options: what benchmarks share."""

from collections.abc import Mapping, Sequence

from evals.benchmark import Graded
from evals.scoring.letter import read_letter
from evals.scoring.option_text import only_option


def lettered(options: Sequence[str]) -> dict[str, str]:
    """The options by letter, from A."""
    return {chr(ord("A") + place): text for place, text in enumerate(options)}


def lines(options: Mapping[str, str]) -> str:
    """A line for each option, such as `A. a dog`."""
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def graded(gold: str, letter: str, rule: str) -> Graded:
    """1 if the letter is the gold one; without a letter the reply is unparsed."""
    return Graded(float(letter == gold), letter, rule, "ok" if letter else "unparsed")


def stated(reply: str, options: Mapping[str, str]) -> tuple[str, str]:
    """Our strict reading: the letter that the reply states without doubt, else that of the one option it quotes.

    Returns:
        The letter and the rule that read it; both empty when neither applies.
    """
    letter, rule = read_letter(reply, tuple(options))
    if letter:
        return letter, rule
    letter = only_option(reply, options)
    return letter, "option text" if letter else ""
