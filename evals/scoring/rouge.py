"""ROUGE-L (Lin 2004): how much of two texts runs in the same order."""

import re

from rapidfuzz.distance import LCSseq


def rouge_l(reference: str, reply: str) -> float:
    """The F1 of the longest common subsequence of words, 0 to 1."""
    wanted, given = _words(reference), _words(reply)
    if not wanted or not given:
        return 0.0
    return 2 * LCSseq.similarity(wanted, given) / (len(wanted) + len(given))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
