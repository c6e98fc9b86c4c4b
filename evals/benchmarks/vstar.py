"""V*: attributes and places of small things in large images (arXiv 2312.14135)."""

import re

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Source
from cli_ray.evals.scoring.choice import graded, lettered, lines, stated
from cli_ray.evals.scoring.means import accuracy_by

_PATTERNS = (
    ("letter at start", r"^([A-D])"),
    ("letter after answer", r"(?:THE\s+)?(?:ANSWER|CHOICE|OPTION)(?:\s+IS)?[\s:]+([A-D])"),
    ("letter in brackets", r"\(([A-D])\)"),
    ("letter and mark", r"([A-D])\s*(?:\.|\)|])"),
    ("letter as a word", r"(?:^|\s)([A-D])(?:\s|$)"),
)
"""Those of `vstar_bench/utils.py` of lmms-eval 0.7.3; the first that fits decides."""


def _options(doc: Doc) -> dict[str, str]:
    """The options within a question such as `What is it? (A) a cat (B) a dog`; none if it is written otherwise."""
    options = re.findall(r"\([A-D]\)\s*([^()]+?)(?=\s*\([A-D]\)|$)", doc["text"])
    return lettered([text.strip() for text in options[:4]])


def _prompt(doc: Doc) -> str:
    question, options = doc["text"], _options(doc)
    if options:
        question = f"{question.split('(A)')[0].strip()}\n{lines(options)}"
    return f"{question}\nAnswer with the option's letter from the given choices directly."


def _gold(doc: Doc) -> str:
    return str(doc["label"]).strip().upper()


def _score(doc: Doc, reply: str) -> Graded:
    text = reply.upper()
    for rule, pattern in _PATTERNS:
        if match := re.search(pattern, text, re.IGNORECASE):
            return graded(_gold(doc), match[1].upper(), rule)
    letters = re.findall("[A-D]", text)
    only = letters[0] if len(letters) == 1 else ""
    return graded(_gold(doc), only, "only letter" if only else "")


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(_gold(doc), *stated(reply, _options(doc) or dict.fromkeys("ABCD", "")))


VSTAR = Benchmark(
    name="vstar",
    title="V*",
    source=Source(ids=("lmms-lab-encoder/vstar-bench", "lmms-lab/vstar-bench"), split="test"),
    count=191,
    columns=("question_id", "text", "label", "category"),
    sample_id=lambda doc, row: f"{doc['category']}-{doc['question_id']}",
    prompt=_prompt,
    question="text",
    gold=_gold,
    max_new_tokens=16,
    score=_score,
    strict=_strict,
    facets=("category",),
    aggregate=accuracy_by("category"),
    headline="accuracy",
    linear=True,
    references={"LLaVA-OneVision-7B": 75.4},
)
