"""Reading of MMMU's replies: as `mmmu/utils.py` of lmms-eval 0.7.3, which follows the official `eval_utils.py`."""

import re
from collections.abc import Mapping, Sequence

from cli_ray.evals.scoring.option_text import quoted_options

Candidate = str | float

_MARKS = ",.!?;:'"
_SHAPES = (
    ("letter in brackets", "({})", "({})"),
    ("letter and space", "{} ", " {} "),
    ("letter and dot", "{}.", " {} "),
)
_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
"""What an answer stands behind."""
_TRIVIAL = {*":,.!?;'"}
_NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
)
"""With commas, in scientific notation, plain."""


def choose(reply: str, options: Mapping[str, str]) -> tuple[str, str]:
    """The letter of a reply and the rule that found it; both empty when none does.

    Where several letters fit a rule, the one that stands last is taken; upstream looks for `B ` and `B.` as words then.
    """
    for mark in _MARKS:
        reply = reply.strip(mark)
    text = f" {reply} "
    for rule, shape, sought in _SHAPES:
        letters = [letter for letter in options if shape.format(letter) in text]
        if letters:
            return _last(text, {letter: sought.format(letter) for letter in letters}), rule
    if len(text.split()) > 5 and (quoted := quoted_options(text, options)):
        return _last(text.lower(), {letter: options[letter].lower() for letter in quoted}), "option text"
    return "", ""


def _last(text: str, sought: Mapping[str, str]) -> str:
    """The letter of which the text sought stands last; the first where places are equal."""
    return max(sought, key=lambda letter: text.rfind(sought[letter]))


def candidates(reply: str) -> list[Candidate]:
    """What an open reply may have meant: the tails of its lines behind words such as `is`, and the numbers in them.

    Returns:
        Lower-case texts, and floats rounded to two digits; the main one first.
    """
    reply = reply.strip().strip(".").lower()
    tails = _tails(reply.split("\n")) or [reply]
    numbers = [number for tail in tails for pattern in _NUMBERS for number in re.findall(pattern, tail)]
    return [candidate for text in tails + numbers for candidate in _normalised(text)]


def _tails(lines: Sequence[str]) -> list[str]:
    """The shortest tail of each line that is not trivial; an equals sign counts in the last line only."""
    tails = []
    for row, line in enumerate(lines):
        keys = (*_KEYS, "=") if row == len(lines) - 1 else _KEYS
        shortest = ""
        for key in keys:
            if key in line:
                tail = line.rsplit(key, 1)[1].strip()
                if not shortest or len(tail) < len(shortest):
                    shortest = tail
        if shortest and shortest not in _TRIVIAL:
            tails.append(shortest)
    return tails


def _normalised(text: str) -> list[Candidate]:
    """A number, or the lower-case text; a single character with a space at either side, so that it matches a word."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def matches(golds: Sequence[str], given: Sequence[Candidate]) -> bool:
    """Whether a gold text is within a candidate, or a gold number equals one."""
    wanted = [answer for gold in golds for answer in _normalised(gold)]
    texts = [answer for answer in wanted if isinstance(answer, str)]
    return any(
        any(text in candidate for text in texts) if isinstance(candidate, str) else candidate in wanted
        for candidate in given
    )
