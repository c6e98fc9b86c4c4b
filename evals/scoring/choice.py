"""Replies to questions with lettered options: what benchmarks share."""

import re
from collections.abc import Mapping, Sequence

from cli_ray.evals.benchmark import Doc, Graded
from cli_ray.evals.scoring.option_text import bounded, only_option, spaced
from cli_ray.evals.scoring.statement import denials, read_letter, unwrapped

_FITS = r" (?:is |are )?(?:more|most) (?:accurate|correct|close|precise|likely|plausible|suitable|appropriate)(?:ly)?\b"
"""What says that an option answers the question, whatever that is."""


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
    """Our strict reading: the letter that the reply states without doubt, else that of the one option that it says fits
    best, as "Box A more accurately encloses it" does, or quotes, in its `<answer>` or box if it has one.

    An option whose letter or text the reply denies, as "not a dog" does, is not quoted.

    Returns:
        The letter and the rule that read it; both empty when neither applies.
    """
    letter, rule = read_letter(_without_texts(reply, options), tuple(options))
    if letter:
        return letter, rule
    denied = " ".join(denials(reply, (*options, *(text.strip() for text in options.values()))))
    left = {
        letter: text
        for letter, text in options.items()
        if not re.search(rf"\b{letter}\b", denied) and not only_option(denied, {letter: text})
    }
    fitting = [
        letter for letter, text in left.items() if text.strip() and re.search(bounded(text) + _FITS, spaced(reply))
    ]
    if len(fitting) == 1:
        return fitting[0], "option said to fit"
    letter = only_option(unwrapped(reply), left)
    return letter, "option text" if letter else ""


def _without_texts(reply: str, options: Mapping[str, str]) -> str:
    """The reply with `(B)` alone where it has a letter and the text of its option, such as `B. a dog` or `a dog (B)`.

    So what is said of both is read, and an option on a line of its own is. A and I before a text may be words.
    """
    reply = spaced(reply)
    for letter, text in options.items():
        words = spaced(text)
        if words and words in reply:
            bare = "" if letter in "AI" else f"|{letter}(?= )"
            before = rf"(?<![\w(])(?:\({letter}\)|{letter}[).:]{bare})[ \t]*{re.escape(words)}(?!\w)"
            reply = re.sub(rf"{before}|{bounded(words)} \({letter}\)", f"({letter})", reply)
    return reply
