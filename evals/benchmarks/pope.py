"""POPE: does the model see objects that are not there? (arXiv 2305.10355)"""

from collections.abc import Callable, Sequence
from statistics import fmean

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.prompts import SHORT
from cli_ray.evals.scoring.means import grouped, percent
from cli_ray.evals.scoring.yes_no import first_word, graded


def _prompt(doc: Doc) -> str:
    return f"{doc['question'].strip()}{SHORT}"


def gold(answer: str) -> str:
    return answer.lower().strip()


def _score(doc: Doc, reply: str) -> Graded:
    """The whole reply has to be the word; a dot behind it costs the item."""
    word = reply.lower()
    return graded(gold(doc["answer"]), (word, "word alone") if word in ("yes", "no") else ("", ""))


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(gold(doc["answer"]), first_word(reply))


def _aggregate(missed: Callable[[ScoredItem], bool]) -> Callable[[Sequence[ScoredItem]], Metrics]:
    """Metrics over all, accuracy and F1 for each category, and the mean of these F1.

    Args:
        missed: whether an item whose gold answer is "yes" counts as a miss.
    """

    def aggregate(samples: Sequence[ScoredItem]) -> Metrics:
        metrics = _rates(samples, missed) | {
            "yes_share": 100 * sum(sample.parsed == "yes" for sample in samples) / len(samples)
        }
        groups = grouped(samples, lambda sample: str(sample.facets["category"]))
        rates = {name: _rates(group, missed) for name, group in groups.items()}
        for name, each in rates.items():
            metrics |= {f"f1/{name}": each["f1"], f"accuracy/{name}": each["accuracy"]}
        return metrics | {"mean f1": fmean(each["f1"] for each in rates.values())}

    return aggregate


def _rates(samples: Sequence[ScoredItem], missed: Callable[[ScoredItem], bool]) -> Metrics:
    present = [sample for sample in samples if gold(sample.facets["answer"]) == "yes"]
    hits = sum(sample.parsed == "yes" for sample in present)
    claims = sum(sample.parsed == "yes" for sample in samples)
    misses = sum(missed(sample) for sample in present)
    precision = hits / claims if claims else 0.0
    recall = hits / (hits + misses) if hits + misses else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"f1": 100 * f1, "accuracy": percent(samples), "precision": 100 * precision, "recall": 100 * recall}


POPE = Benchmark(
    name="pope",
    title="POPE",
    source=Source(ids=("lmms-lab-encoder/POPE", "lmms-lab/POPE"), split="test"),
    count=9000,
    columns=("question_id", "question", "answer", "category"),
    sample_id=lambda doc, row: f"{doc['category']}/{doc['question_id']}:{row}",
    prompt=_prompt,
    max_new_tokens=128,
    score=_score,
    strict=_strict,
    facets=("answer", "category"),
    # Upstream leaves replies that are neither yes nor no out of the recall.
    aggregate=_aggregate(lambda sample: sample.parsed == "no"),
    strict_aggregate=_aggregate(lambda sample: sample.parsed != "yes"),
    headline="f1",
    notes=("Published numbers are `mean f1`, the mean of the three categories' F1; `f1` is that over all questions.",),
    references={"LLaVA-1.5-7B": 85.9},
)
