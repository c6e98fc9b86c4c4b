"""Replies compared with gold texts: equal, similar, near as numbers. Rules of benchmarks with short answers.

As lmms-eval 0.7.3 has them, unless a docstring says that the reading is ours.
"""

import re
import string
from collections.abc import Sequence

from rapidfuzz.distance import LCSseq, Levenshtein

from cli_ray.evals.benchmark import Graded
from cli_ray.evals.scoring.option_text import bounded, spaced

THRESHOLD = 0.5
"""Similarity below which ANLS is 0."""
TOLERANCE = 0.05
"""Share of the gold number by which a number may be off."""
_FIGURE = re.compile(r"([-+]?)[$€£¥]?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+) ?%?")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact(gold: str, reply: str) -> Graded:
    """1 if the texts are equal but for case and punctuation (AI2D, GQA). As `exact_match`."""
    parsed = without_punctuation(reply)
    return Graded(float(parsed == without_punctuation(gold)), parsed, "text", "ok" if parsed else "unparsed")


def without_punctuation(text: str) -> str:
    """Lower case, without ASCII punctuation."""
    return text.lower().translate(_NO_PUNCTUATION)


def anls(golds: Sequence[str], reply: str) -> Graded:
    """The normalised Levenshtein similarity to the nearest gold answer; 0 below one half (DocVQA, InfoVQA).

    As `anls` in `api/metrics.py`: spaces are collapsed before the distance is taken but count in the length.
    """
    nearest = min(_distance(gold, reply) for gold in golds)
    similarity = 1 - nearest
    return Graded(similarity if similarity >= THRESHOLD else 0.0, reply, "text", "ok" if reply else "unparsed")


def relaxed(gold: str, reply: str) -> Graded:
    """1 if both are numbers within 5 percent of the gold one, or the texts are equal but for case (ChartQA).

    As `chartqa/utils.py`.
    """
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
    near = any(abs(number - target) <= TOLERANCE * abs(target) for number, target in pairs)
    return Graded(float(near), text, "number")


def contained(gold: str, reply: str) -> Graded:
    """1 if the gold text stands in the reply as whole words, whatever its case. Ours, for own benchmarks."""
    found = gold.strip() and re.search(bounded(gold), spaced(reply), re.IGNORECASE)
    return Graded(float(bool(found)), reply, "contains", "ok" if reply else "unparsed")


def rouge_l(reference: str, reply: str) -> float:
    """The F1 of the longest common subsequence of words, 0 to 1 (Lin 2004). Ours: it stands in for LLaVA-W's judge."""
    wanted, given = _words(reference), _words(reply)
    if not wanted or not given:
        return 0.0
    return 2 * LCSseq.similarity(wanted, given) / (len(wanted) + len(given))


def _distance(gold: str, reply: str) -> float:
    length = max(len(gold.upper()), len(reply.upper()))
    return Levenshtein.distance(_flat(gold), _flat(reply)) / length if length else 0.0


def _flat(text: str) -> str:
    return " ".join(text.lower().split())


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
    match = _FIGURE.fullmatch(text)
    return float(match[1] + match[2].replace(",", "")) if match else None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
