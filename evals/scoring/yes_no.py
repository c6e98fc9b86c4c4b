"""Yes or no in a reply (MME, POPE, HallusionBench)."""

import re

from cli_ray.evals.benchmark import Graded
from cli_ray.evals.scoring.statement import STATES, plain

_WORDS = {"y": "yes", "n": "no"}
_SAID = re.compile(rf"{STATES}((?i:yes|no))\b(?! or\b)")


def first_word(reply: str) -> tuple[str, str]:
    """Our reading: y or n alone, else the word that is last said to be the answer, else the first "yes" or "no" that
    stands as a word, and the rule; both empty when there is none."""
    if alone := re.fullmatch(r"\W*([yn])\W*", reply.lower()):
        return _WORDS[alone[1]], "letter alone"
    if words := _SAID.findall(plain(reply)):
        return words[-1].lower(), "stated as answer"
    match = re.search(r"\b(yes|no)\b", reply.lower())
    return (match[1], "first yes or no") if match else ("", "")


def first_letters(reply: str) -> tuple[str, str]:
    """MME's reading, as `mme/utils.py` of lmms-eval 0.7.3: y or n alone, else "yes" or "no" in the first four
    characters, dots left out. "I know" is neither, and "not" is "no"."""
    text = reply.lower().strip().replace(".", "")
    if text in _WORDS:
        return _WORDS[text], "letter alone"
    for word in ("yes", "no"):
        if word in text[:4]:
            return word, "first four characters"
    return "", ""


def graded(gold: str, read: tuple[str, str]) -> Graded:
    """1 if what was read is the gold word; nothing read is wrong and `unparsed`."""
    parsed, rule = read
    return Graded(float(parsed == gold), parsed, rule, "ok" if parsed else "unparsed")
