"""OCRBench: reading text, tables and formulas in images (arXiv 2305.07895)."""

from collections.abc import Callable, Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.scoring.means import grouped, percent
from cli_ray.evals.scoring.statement import NARROW

POINTS = {
    "Regular Text Recognition": 50,
    "Irregular Text Recognition": 50,
    "Artistic Text Recognition": 50,
    "Handwriting Recognition": 50,
    "Digit String Recognition": 50,
    "Non-Semantic Text Recognition": 50,
    "Scene Text-centric VQA": 200,
    "Doc-oriented VQA": 200,
    "Key Information Extraction": 200,
    "Handwritten Mathematical Expression Recognition": 100,
}
"""Questions of each type, one point each."""


def _prompt(doc: Doc) -> str:
    return str(doc["question"].strip())


def _score(doc: Doc, reply: str) -> Graded:
    return contained(doc, reply, lambda text: in_one_line(text.translate(NARROW)))


def contained(doc: Doc, reply: str, folded: Callable[[str], str]) -> Graded:
    """1 if any gold answer is contained in the reply.

    Args:
        folded: what both are made into before, but for formulas, which only lose their spaces.
    """
    flat = _without_spaces if doc["dataset"] == "HME100k" else folded
    golds = [doc["answer"]] if isinstance(doc["answer"], str) else doc["answer"]
    hit = any(flat(gold) in flat(reply) for gold in golds)
    return Graded(float(hit), reply, "contains", "ok" if reply else "unparsed")


def _without_spaces(text: str) -> str:
    return text.strip().replace("\n", "").replace(" ", "")


def in_one_line(text: str) -> str:
    """The text in lower case, its line breaks made spaces."""
    return text.lower().strip().replace("\n", " ")


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """Points of 1000, and of those that each type can give; scaled up where not all items are scored."""
    types = grouped(samples, lambda sample: str(sample.facets["question_type"]))
    metrics = {"points": 10 * percent(samples)}
    return metrics | {f"points/{name}": POINTS.get(name, 100) * percent(group) / 100 for name, group in types.items()}


OCRBENCH = Benchmark(
    name="ocrbench",
    title="OCRBench",
    source=Source(ids=("echo840/OCRBench",), split="test"),
    count=1000,
    columns=("question", "answer", "question_type", "dataset"),
    prompt=_prompt,
    max_new_tokens=128,
    score=_score,
    facets=("question_type",),
    aggregate=_aggregate,
    headline="points",
    full_marks=1000.0,
    references={"LLaVA-1.5-7B": 318.0, "LLaVA-OneVision-7B": 622.0},
)
