"""Average normalised Levenshtein similarity (DocVQA, InfoVQA). As `anls` in `api/metrics.py` of lmms-eval 0.7.3."""

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from cli_ray.evals.benchmark import Graded

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
