"""MMVP: 150 pairs of images that CLIP takes for alike, one question a pair with opposite answers (arXiv 2401.06209).

Four answers were put right in `lmms-lab-eval/MMVP`, so numbers differ slightly from papers that used `MMVP/MMVP`.
"""

import re
from collections.abc import Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.scoring.choice import graded, lettered, lines, stated
from cli_ray.evals.scoring.means import accuracy, grouped

_PATTERNS = (
    ("letter alone", r"^\s*\(?([AB])\)?\.?\s*$"),
    ("letter at start", r"^\s*\(?([AB])\)?[\.\s]"),
    ("letter after answer", r"answer\s+is\s+\(?([AB])\)?"),
    ("letter after option", r"option\s+\(?([AB])\)?"),
    ("letter before a space", r"\(?([AB])\)?(?:\s|$)"),
    ("first letter", r"^([AB])"),
)
"""Those of `mmvp/utils.py` of lmms-eval 0.7.3; the first that fits decides."""


def _options(doc: Doc) -> dict[str, str]:
    """The options of a text such as `(a) Open (b) Closed`."""
    options = re.findall(r"\([a-z]\)\s*([^(]+?)(?=\s*\([a-z]\)|$)", doc["Options"], re.IGNORECASE)
    return lettered([text.strip() for text in options])


def _prompt(doc: Doc) -> str:
    instruction = "Answer with the option's letter from the given choices directly."
    return f"{doc['Question']}\n{lines(_options(doc))}\n{instruction}"


def _gold(doc: Doc) -> str:
    """The letter of a text such as `(a)`."""
    return str(doc["Correct Answer"]).strip().strip("()").upper()


def _score(doc: Doc, reply: str) -> Graded:
    for rule, pattern in _PATTERNS:
        if match := re.search(pattern, reply, re.IGNORECASE):
            return graded(_gold(doc), match[1].upper(), rule)
    return graded(_gold(doc), "", "")


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(_gold(doc), *stated(reply, _options(doc)))


def _pair(doc: Doc) -> str:
    return str((int(doc["Index"]) - 1) // 2)


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """The share of pairs with both answers right, and of single answers; halves of a pair count only if there is no
    whole one."""
    groups = list(grouped(samples, lambda sample: sample.unit).values())
    pairs = [group for group in groups if len(group) == 2] or groups
    both = sum(min(sample.score or 0.0 for sample in pair) for pair in pairs)
    return {"pair accuracy": 100 * both / len(pairs)} | accuracy(samples)


MMVP = Benchmark(
    name="mmvp",
    title="MMVP",
    source=Source(ids=("lmms-lab-eval/MMVP",), split="train"),
    count=300,
    columns=("Index", "Question", "Options", "Correct Answer"),
    sample_id=lambda doc, row: str(doc["Index"]),
    prompt=_prompt,
    question="Question",
    gold=_gold,
    max_new_tokens=16,
    score=_score,
    strict=_strict,
    unit=_pair,
    cluster=_pair,
    aggregate=_aggregate,
    headline="pair accuracy",
    notes=("Four answers were put right in `lmms-lab-eval/MMVP`; papers that used `MMVP/MMVP` differ slightly.",),
)
