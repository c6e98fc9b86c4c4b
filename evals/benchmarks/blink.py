"""BLINK: 14 tasks that people solve within a blink, many with several images (arXiv 2404.12390)."""

import re
from collections.abc import Sequence
from statistics import fmean

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.scoring.choice import graded, lettered, stated
from cli_ray.evals.scoring.means import accuracy_by


def _prompt(doc: Doc) -> str:
    letters = ", ".join(lettered(doc["choices"]))
    return (
        f"Note: You only need to respond with {letters} without providing any additional information.\n{doc['prompt']}"
    )


def _gold(doc: Doc) -> str:
    return str(doc["answer"]).strip("()")


def _find(reply: str, letters: str) -> tuple[str, str]:
    """The letter and its rule, as `blink/utils.py` of lmms-eval 0.7.3."""
    line = reply.split("\n", 1)[0].strip()
    alone = re.match(rf"^\(?([{letters}])\)?[\.\s:,)]*$", line, re.IGNORECASE)
    if alone and len(line) <= 4:
        return alone[1].upper(), "letter alone"
    answer = rf"answers?(?:\s+is)?\s*[:\-]?\s*\(?([{letters}])\)?(?![A-Za-z])"
    if stated := re.findall(answer, reply, re.IGNORECASE):
        return stated[-1].upper(), "letter after answer"
    if bracketed := re.findall(rf"\(([{letters}])\)", reply):
        return bracketed[-1], "letter in brackets"
    first = re.match(rf"[\(\s]*([{letters}])", reply, re.IGNORECASE)
    return (first[1].upper(), "first letter") if first else ("", "")


def _score(doc: Doc, reply: str) -> Graded:
    return graded(_gold(doc), *_find(reply, "".join(lettered(doc["choices"]))))


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(_gold(doc), *stated(reply, lettered(doc["choices"])))


_by_task = accuracy_by("sub_task")


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """The mean over items, that of each task, and the mean of these, as the authors have it."""
    metrics = _by_task(samples)
    tasks = [value for name, value in metrics.items() if name.startswith("accuracy/")]
    return metrics | {"task mean": fmean(tasks)}


BLINK = Benchmark(
    name="blink-val",
    title="BLINK val",
    source=Source(ids=("BLINK-Benchmark/BLINK",), config="*", split="val"),
    count=1901,
    columns=("idx", "prompt", "choices", "answer", "sub_task"),
    image_columns=tuple(f"image_{number}" for number in range(1, 5)),
    sample_id=lambda doc, row: str(doc["idx"]),
    prompt=_prompt,
    question="prompt",
    gold=_gold,
    max_new_tokens=1024,
    score=_score,
    strict=_strict,
    facets=("sub_task",),
    aggregate=_aggregate,
    headline="accuracy",
    strict_headline="task mean",
    linear=True,
    strict_linear=False,
    upstream_notes=(
        "`accuracy` is over items, as lmms-eval has it; the authors' number is `task mean`, the mean over 14 tasks.",
    ),
    references={"LLaVA-OneVision-0.5B": 52.1},
)
