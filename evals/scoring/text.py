"""Relaxed accuracy (ChartQA): numbers may be off by 5 percent. As `chartqa/utils.py` of lmms-eval 0.7.3.

Average normalised Levenshtein similarity (DocVQA, InfoVQA). As `anls` in `api/metrics.py` of lmms-eval 0.7.3.

Equality of texts but for case and punctuation (AI2D, GQA). As `exact_match` of lmms-eval 0.7.3.

ROUGE-L (Lin 2004): how much of two texts runs in the same order.
"""

import re
import string
from collections.abc import Sequence

from rapidfuzz.distance import LCSseq, Levenshtein

from cli_ray.evals.benchmark import Graded

TOLERANCE = 0.05
_FIGURE = re.compile(r"([-+]?)[$€£¥]?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+) ?%?")


def relaxed(gold: str, reply: str) -> Graded:
    """1 if both are numbers within 5 percent of the gold one, or the texts are equal but for case."""
    wanted, given = _number(gold), _number(reply)
    if wanted and given is not None:
        return Graded(float(abs(given - wanted) / abs(wanted) <= TOLERANCE), str(given), "number")
    return Graded(float(reply.lower() == gold.lower()), reply, "text", "ok" if reply else "unparsed")


def relaxed_as_written(gold: str, reply: str) -> Graded:
    """Our strict reading: `relaxed` for what people write, such as `1,000`, `$5`, `Yes.` and 0.0 for 0.

    A percent sign on one side only may be meant either way, as charts have 2 in a column of percents: `2%` is near 2
    and near 0.02.
    """
    text, wanted_text = _trimmed(reply), _trimmed(gold)
    given, wanted = _figure(text), _figure(wanted_text)
    if given is None or wanted is None:
        return Graded(float(text.lower() == wanted_text.lower()), text, "text", "ok" if text else "unparsed")
    pairs = [(given, wanted)]
    if text.endswith("%") != wanted_text.endswith("%"):
        pairs.append((given, 100 * wanted) if text.endswith("%") else (100 * given, wanted))
    near = any(abs(one - other) <= TOLERANCE * abs(other) for one, other in pairs)
    return Graded(float(near), text, "number")


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _trimmed(text: str) -> str:
    """Without marks of quotation and emphasis around it, and without a dot at the end."""
    return text.strip(" \t\n*_`\"'“”").removesuffix(".").strip(" *_`\"'“”").replace("\u2212", "-")


def _figure(text: str) -> float | None:
    """The number of a text that is nothing else, in percent where it has that sign."""
    found = _FIGURE.fullmatch(text)
    return float(found[1] + found[2].replace(",", "")) if found else None


THRESHOLD = 0.5


def anls(golds: Sequence[str], reply: str) -> Graded:
    """The similarity to the nearest gold answer; 0 below one half. Spaces are collapsed before the distance is taken
    but count in the length, as upstream has it."""
    nearest = min(_distance(gold, reply) for gold in golds)
    similarity = 1 - nearest
    return Graded(similarity if similarity >= THRESHOLD else 0.0, reply, "text", "ok" if reply else "unparsed")


def _distance(gold: str, reply: str) -> float:
    length = max(len(gold.upper()), len(reply.upper()))
    return Levenshtein.distance(_flat(gold), _flat(reply)) / length if length else 0.0


def _flat(text: str) -> str:
    return " ".join(text.lower().split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def plain(text: str) -> str:
    """Lower case, without ASCII punctuation."""
    return text.lower().translate(_NO_PUNCTUATION)


def exact(gold: str, reply: str) -> Graded:
    """1 if the texts are equal but for case and punctuation."""
    parsed = plain(reply)
    return Graded(float(parsed == plain(gold)), parsed, "text", "ok" if parsed else "unparsed")


def rouge_l(reference: str, reply: str) -> float:
    """The F1 of the longest common subsequence of words, 0 to 1."""
    wanted, given = _words(reference), _words(reply)
    if not wanted or not given:
        return 0.0
    return 2 * LCSseq.similarity(wanted, given) / (len(wanted) + len(given))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
