"""Relaxed accuracy (ChartQA): numbers may be off by 5 percent. As `chartqa/utils.py` of lmms-eval 0.7.3."""

from cli_ray.evals.benchmark import Graded

TOLERANCE = 0.05


def relaxed(gold: str, reply: str) -> Graded:
    """1 if both are numbers within 5 percent of the gold one, or the texts are equal but for case."""
    wanted, given = _number(gold), _number(reply)
    if wanted and given is not None:
        return Graded(float(abs(given - wanted) / abs(wanted) <= TOLERANCE), str(given), "number")
    return Graded(float(reply.lower() == gold.lower()), reply, "text", "ok" if reply else "unparsed")


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
