"""MME: yes/no questions on perception and cognition, two on each image (arXiv 2306.13394)."""

from collections.abc import Sequence
from math import fsum

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.scoring.means import grouped, percent
from cli_ray.evals.scoring.yes_no import first_letters, first_word, graded

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
SUFFIX = " Please answer yes or no."


def _prompt(doc: Doc) -> str:
    return f"{doc['question'].strip().replace(SUFFIX, '')}{SHORT}"


def _gold(doc: Doc) -> str:
    return str(doc["answer"].lower().strip().replace(".", ""))


def _score(doc: Doc, reply: str) -> Graded:
    return graded(_gold(doc), first_letters(reply))


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(_gold(doc), first_word(reply))


def _image(doc: Doc) -> str:
    return f"{doc['category']}/{doc['question_id']}"


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """A category gives the percentage of right answers plus that of images with all answers right; perception and
    cognition are sums over those of their categories that are present, of 2000 and 800."""
    categories = {
        name: percent(group) + _all_right(group)
        for name, group in grouped(samples, lambda sample: str(sample.facets["category"])).items()
    }
    perception = fsum(points for name, points in categories.items() if name in PERCEPTION)
    total = fsum(categories.values())
    return {"perception": perception, "cognition": total - perception, "total": total} | {
        f"points/{name}": points for name, points in categories.items()
    }


def _all_right(samples: Sequence[ScoredItem]) -> float:
    images = grouped(samples, lambda sample: sample.unit).values()
    return 100 * sum(all(sample.score for sample in image) for image in images) / len(images)


MME = Benchmark(
    name="mme",
    title="MME",
    source=Source(ids=("lmms-lab-encoder/MME", "lmms-lab/MME"), split="test"),
    count=2374,
    columns=("question_id", "question", "answer", "category"),
    sample_id=lambda doc, row: f"{doc['question_id']}:{row}",
    prompt=_prompt,
    max_new_tokens=16,
    score=_score,
    strict=_strict,
    facets=("category",),
    unit=_image,
    cluster=_image,
    aggregate=_aggregate,
    headline="perception",
    full_marks=2000.0,
    references={"LLaVA-1.5-7B": 1510.7, "LLaVA-OneVision-0.5B": 1238.0, "LLaVA-OneVision-7B": 1580.0},
)
