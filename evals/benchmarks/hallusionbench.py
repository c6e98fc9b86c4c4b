"""HallusionBench: yes/no questions on figures and doctored twins of them (arXiv 2310.14566).

Read by rules, as the `_intern` functions of lmms-eval 0.7.3 do, not by a judge.
"""

from collections.abc import Sequence

from cli_ray.evals.benchmark import Benchmark, Doc, Graded, Metrics, ScoredItem, Source
from cli_ray.evals.scoring.means import grouped, percent
from cli_ray.evals.scoring.yes_no import first_word, graded


def _prompt(doc: Doc) -> str:
    return str(doc["question"])


def gold(doc: Doc) -> str:
    return {"1": "yes", "0": "no"}[str(doc["gt_answer"])]


def _score(doc: Doc, reply: str) -> Graded:
    """ "Yes" anywhere in the reply, also as part of a word, is yes; anything else is no."""
    word, _ = first_word(reply)
    answer = "yes" if "yes" in reply.lower() else "no"
    sure = bool(word) or answer == "yes"
    return Graded(float(answer == gold(doc)), answer if sure else "", "yes anywhere", "ok" if sure else "unparsed")


def _strict(doc: Doc, reply: str) -> Graded:
    return graded(gold(doc), first_word(reply))


def _set(doc: Doc) -> str:
    return f"{doc['category']}/{doc['subcategory']}/{doc['set_id']}"


def _all_right(samples: Sequence[ScoredItem], facet: str) -> float:
    """Percentage of groups, of one set and one value of a facet, with every answer right."""
    groups = grouped(samples, lambda sample: f"{sample.unit}/{sample.facets[facet]}").values()
    return 100 * sum(all(sample.score for sample in group) for group in groups) / len(groups)


def _aggregate(samples: Sequence[ScoredItem]) -> Metrics:
    """Right answers; questions right on every figure of their set; figures with every question right; their mean."""
    metrics = {
        "aAcc": percent(samples),
        "qAcc": _all_right(samples, "question_id"),
        "fAcc": _all_right(samples, "figure_id"),
    }
    return {"average": sum(metrics.values()) / 3} | metrics


HALLUSIONBENCH = Benchmark(
    name="hallusionbench",
    title="HallusionBench",
    source=Source(ids=("lmms-lab-encoder/HallusionBench", "lmms-lab/HallusionBench"), split="image"),
    count=951,
    columns=("category", "subcategory", "set_id", "figure_id", "question_id", "question", "gt_answer"),
    sample_id=lambda doc, row: f"{_set(doc)}/{doc['figure_id']}/{doc['question_id']}:{row}",
    prompt=_prompt,
    gold=gold,
    max_new_tokens=128,
    score=_score,
    strict=_strict,
    facets=("figure_id", "question_id"),
    unit=_set,
    cluster=_set,
    aggregate=_aggregate,
    headline="average",
    notes=(
        "Replies are read by rules, as `_intern` of lmms-eval does, where the authors ask GPT-4; their questions "
        "without a figure are not asked; `average` is that of aAcc, qAcc and fAcc.",
    ),
    references={"LLaVA-1.5-7B": 27.6, "LLaVA-OneVision-7B": 47.5},
)
