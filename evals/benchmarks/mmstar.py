"""MMStar: questions that need the image, in 18 classes of ability (arXiv 2403.20330)."""

from collections.abc import Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.scoring.choice import graded
from cli_ray.evals.scoring.letter import find_letter
from cli_ray.evals.scoring.means import grouped, percent
from cli_ray.evals.scoring.statement import read_letter


def _prompt(doc: Doc) -> str:
    question = doc["question"].strip().replace(" Please answer yes or no.", "")
    return f"{question}\nAnswer with the option's letter from the given choices directly"


def gold(doc: Doc) -> str:
    return str(doc["answer"]).strip().upper()


def _score(doc: Doc, reply: str) -> Graded:
    return graded(gold(doc), *find_letter(reply, "ABCD"))


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(gold(doc), *read_letter(reply, "ABCD"))


def _mean_of_classes(samples: Sequence[ScoredItem]) -> float:
    """The mean over classes of the mean score in each, in percent."""
    classes = grouped(samples, lambda sample: str(sample.facets["l2_category"]))
    return sum(percent(each) for each in classes.values()) / len(classes)


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """The mean over classes, and over items as the authors have it; both for each category, too."""
    categories = grouped(samples, lambda sample: str(sample.facets["category"]))
    metrics = {"average": _mean_of_classes(samples), "accuracy": percent(samples)}
    for name, each in categories.items():
        metrics |= {f"average/{name}": _mean_of_classes(each), f"accuracy/{name}": percent(each)}
    return metrics


MMSTAR = Benchmark(
    name="mmstar",
    title="MMStar",
    source=Source(ids=("Lin-Chen/MMStar",), split="val"),
    count=1500,
    columns=("index", "question", "answer", "category", "l2_category"),
    sample_id=lambda doc, row: str(doc["index"]),
    prompt=_prompt,
    max_new_tokens=1024,
    score=_score,
    strict=_strict,
    facets=("category", "l2_category"),
    aggregate=_aggregate,
    headline="average",
    strict_headline="accuracy",
    strict_linear=True,
    upstream_notes=(
        "`average` is over 18 classes, as lmms-eval has it; the authors' number is `accuracy`, the mean over items.",
    ),
    references={"LLaVA-1.5-7B": 33.1, "LLaVA-OneVision-0.5B": 37.5, "LLaVA-OneVision-7B": 61.7},
)
