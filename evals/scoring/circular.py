"""Circular evaluation (MMBench): a question counts if it is answered right under every rotation of its options.

As `mmbench/mmbench_evals.py` of lmms-eval 0.7.3 in its static mode, which asks no judge.
"""

from collections.abc import Mapping, Sequence

from cli_ray.evals.benchmark import Metrics, ScoredItem
from cli_ray.evals.scoring.letter import find_letter
from cli_ray.evals.scoring.means import grouped
from cli_ray.evals.scoring.option_text import quoted_options

ROTATION = 10**6
"""Rows whose index differs by multiples of this are rotations of one question."""

_AFFIXES = (
    ("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ")."), (":", ""), (":", ","), (":", "."),
    (":", ")"), (":", ")."),
)  # fmt: skip


def infer(reply: str, options: Mapping[str, str]) -> tuple[str, str]:
    """The letter of a reply and the rule that found it; both empty when none does.

    Args:
        options: texts by letter, A to D.
    """
    if letter := _token(reply.split()):
        return letter, "letter as a word"
    if len(quoted := quoted_options(reply, options)) == 1:
        return quoted[0], "option text"
    return find_letter(reply, sorted(options)) if options else ("", "")


def _token(words: Sequence[str]) -> str:
    """The only letter of A to E among the words, then with each pair of marks around it."""
    bare = [letter for letter in "ABCDE" if letter in words]
    article = "A" in words and len(words) > 3
    if len(bare) == 1 and not article:
        return bare[0]
    for before, after in _AFFIXES:
        marked = [letter for letter in "ABCDE" if f"{before}{letter}{after}" in words]
        if len(marked) == 1:
            return marked[0]
    return ""


def question_of(index: int | str) -> int:
    """The question of which a row is a rotation."""
    return int(index) % ROTATION


def circular_accuracy(samples: Sequence[ScoredItem]) -> Metrics:
    """The share of questions with every rotation right, over all and by category and ability, in percent.

    Reads the units, which are questions, and the facets `index`, `category` and `L2-category`; a question without its
    first row does not count.
    """
    hits: dict[str, list[float]] = {"accuracy": []}
    for rotations in grouped(samples, lambda sample: sample.unit).values():
        first = [sample.facets for sample in rotations if int(sample.facets["index"]) < ROTATION]
        if first:
            hit = min(sample.score or 0.0 for sample in rotations)
            hits["accuracy"].append(hit)
            for facet in ("L2-category", "category"):
                hits.setdefault(f"accuracy/{first[0][facet]}", []).append(hit)
    return {name: 100 * sum(each) / len(each) for name, each in hits.items() if each}
