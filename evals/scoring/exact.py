"""Equality of texts but for case and punctuation (AI2D, GQA). As `exact_match` of lmms-eval 0.7.3."""

import string

from cli_ray.evals.benchmark import Graded

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def plain(text: str) -> str:
    """Lower case, without ASCII punctuation."""
    return text.lower().translate(_NO_PUNCTUATION)


def exact(gold: str, reply: str) -> Graded:
    """1 if the texts are equal but for case and punctuation."""
    parsed = plain(reply)
    return Graded(float(parsed == plain(gold)), parsed, "text", "ok" if parsed else "unparsed")
