"""CV-Bench: counting, relation, depth and distance on ADE20K, COCO and Omni3D (Cambrian-1, arXiv 2406.16860)."""

import re
from collections.abc import Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.scoring.choice import graded, lettered, stated
from cli_ray.evals.scoring.means import accuracy_by, grouped, percent


def _prompt(doc: Doc) -> str:
    letters = ", ".join(lettered(doc["choices"]))
    note = f"Note: You only need to respond with {letters} without providing any additional information."
    return f"{note}\n\n{doc['prompt']}"


def _gold(doc: Doc) -> str:
    return str(doc["answer"]).strip("()")


def _score(doc: Doc, reply: str) -> Graded:
    """As `cv_bench/utils.py` of lmms-eval 0.7.3: the first letter, be it of a word."""
    first = re.match(r"[\(\s]*([A-Z])", reply, re.IGNORECASE)
    return graded(_gold(doc), first[1].upper() if first else "", "first letter" if first else "")


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(_gold(doc), *stated(reply, lettered(doc["choices"])))


_by_task = accuracy_by("task")


def _of_paper(samples: Sequence[ScoredItem]) -> Metrics:
    """Half the mean of ADE20K and COCO and half Omni3D, as the paper and upstream's unused function have it; sources
    that a part of the set lacks are left out."""
    groups = grouped(samples, lambda sample: str(sample.facets["source"]))
    sources = {name: percent(group) for name, group in groups.items()}
    flat = [value for name, value in sources.items() if name != "Omni3D"]
    halves = [sum(flat) / len(flat)] if flat else []
    halves += [sources["Omni3D"]] if "Omni3D" in sources else []
    tasks = _by_task(samples) | {f"accuracy/{name}": value for name, value in sources.items()}
    return tasks | {"accuracy": sum(halves) / len(halves)}


CV_BENCH = Benchmark(
    name="cv-bench",
    title="CV-Bench",
    source=Source(ids=("nyu-visionx/CV-Bench",), config="default", split="test"),
    count=2638,
    columns=("idx", "prompt", "choices", "answer", "type", "task", "source"),
    sample_id=lambda doc, row: f"{doc['type']}-{doc['idx']}",
    prompt=_prompt,
    question="prompt",
    gold=_gold,
    max_new_tokens=1024,
    score=_score,
    strict=_strict,
    facets=("type", "task", "source"),
    aggregate=_by_task,
    strict_aggregate=_of_paper,
    headline="accuracy",
    upstream_notes=("`accuracy` is over items, as lmms-eval has it; the authors weigh 2D and 3D alike.",),
)
