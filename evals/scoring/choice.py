"""Replies to questions with lettered options: what benchmarks share."""

import re
from collections.abc import Mapping, Sequence

from cli_ray.evals.benchmark import Doc, Graded
from cli_ray.evals.scoring.option_text import only_option
from cli_ray.evals.scoring.statement import denials, read_letter, unwrapped


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
    """Our strict reading: the letter that the reply states without doubt, else that of the one option it quotes, in
    its `<answer>` or box if it has one.

    An option whose letter or text the reply denies, as "not a dog" does, is not quoted. A letter before its own text,
    as in "Answer: B a dog", is no article.

    Returns:
        The letter and the rule that read it; both empty when neither applies.
    """
    letter, rule = read_letter(_marked(reply, options), tuple(options))
    if letter:
        return letter, rule
    denied = " ".join(denials(reply, (*options, *(text.strip() for text in options.values()))))
    left = {
        letter: text
        for letter, text in options.items()
        if not re.search(rf"\b{letter}\b", denied) and not only_option(denied, {letter: text})
    }
    letter = only_option(unwrapped(reply), left)
    return letter, "option text" if letter else ""


def _marked(reply: str, options: Mapping[str, str]) -> str:
    """The reply with brackets around letters that stand before the text of their option; A and I may be words."""
    for letter, text in options.items():
        if letter not in "AI" and text.strip():
            reply = re.sub(rf"(?<![\w(]){letter} (?={re.escape(text.strip())}(?!\w))", f"({letter}) ", reply)
    return reply
