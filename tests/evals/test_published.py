"""Official figures from published judgements, kept as numbers alone in `published.json`.

The judge answers with what GPT-4 answered about replies of LLaVA-1.5: the points on the first line of the reviews in
`playground/data/eval/llava-bench-in-the-wild/reviews`, and the grades in `playground/data/eval/mm-vet/results`, both of
github.com/haotian-liu/LLaVA at 32cebc3. Figures are those of that repository: what its `summarize_gpt_review.py` makes
of the points, the totals in the tables beside the grades (the one of the 7B model is in 5c134a5), and
`docs/MODEL_ZOO.md` at 19d8945.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from cli_ray import evals
from cli_ray.evals.benchmark import Messages, ScoredItem
from cli_ray.evals.score import AskJudge, Scored

PUBLISHED: dict[str, Any] = json.loads(Path(__file__).with_name("published.json").read_text())


def _reciting(answers: list[str]) -> AskJudge:
    """A judge that gives the answers in order."""
    rest: Iterator[str] = iter(answers)

    def judge(messages: Messages) -> str:
        return next(rest)

    return judge


def _reviewed(model: str, review: str) -> Scored:
    """The replies of a model to LLaVA-Bench in the Wild as one of GPT-4's reviews scores them."""
    rows = PUBLISHED["llava-wild"][model][review]
    docs = [
        {
            "question_id": number,
            "question": "Which?",
            "gpt_answer": "This.",
            "caption": "A thing.",
            "category": category,
        }
        for number, (category, _, _) in enumerate(rows)
    ]
    judge = _reciting([f"{reference:g} {reply:g}" for _, reference, reply in rows])
    return evals.score("llava-wild", docs, ["That."] * len(docs), judge)


def _summarized(samples: list[ScoredItem]) -> float:
    """The relative score as LLaVA's script prints it, which rounds the mean points before it divides them."""
    reference = fmean(sample.parts["reference"] for sample in samples)
    reply = fmean(10 * (sample.score or 0.0) for sample in samples)
    return round(100 * round(reply, 3) / round(reference, 3), 1)


REVIEWS = {
    ("llava-v1.5-7b", "eval1"): (64.7, 59.3, 47.7, 77.6),
    ("llava-v1.5-7b", "eval2"): (65.3, 59.0, 48.5, 78.8),
    ("llava-v1.5-7b", "eval3"): (66.3, 59.0, 50.8, 79.6),
    ("llava-v1.5-13b", "eval1"): (72.8, 74.7, 52.6, 82.8),
    ("llava-v1.5-13b", "eval2"): (72.7, 74.7, 51.1, 83.7),
    ("llava-v1.5-13b", "eval3"): (72.1, 72.5, 51.1, 83.5),
}
"""What the script prints for a review: over all, conv, detail and complex."""


@pytest.mark.parametrize(("model", "review"), REVIEWS)
def test_llava_wild_of_one_review(model: str, review: str) -> None:
    scored = _reviewed(model, review)
    assert len(scored.samples) == 60
    assert {sample.state for sample in scored.samples} == {"ok"}
    assert set(scored.metrics) == {
        "relative score",
        *(f"relative score/{name}" for name in ("conv", "detail", "complex")),
    }
    for name, printed in zip(("", "conv", "detail", "complex"), REVIEWS[model, review], strict=True):
        samples = [sample for sample in scored.samples if name in ("", sample.facets["category"])]
        assert _summarized(samples) == printed
        # Its rounding of the means can move the ratio by 0.012 before it is rounded itself.
        assert scored.metrics["relative score" + (name and f"/{name}")] == pytest.approx(printed, abs=0.05 + 0.012)


@pytest.mark.parametrize(("model", "published"), [("llava-v1.5-7b", 65.4), ("llava-v1.5-13b", 72.5)])
def test_llava_wild_in_the_model_zoo_is_the_mean_of_three_reviews(model: str, published: float) -> None:
    reviews = [_reviewed(model, review) for review in PUBLISHED["llava-wild"][model]]
    assert round(fmean(_summarized(scored.samples) for scored in reviews), 1) == published
    assert fmean(scored.metrics["relative score"] for scored in reviews) == pytest.approx(published, abs=0.1)


@pytest.mark.parametrize(
    ("model", "totals", "published"),
    [("llava-v1.5-7b", [31.2, 30.8, 31.2], 31.1), ("llava-v1.5-13b", [36.1], 36.1)],
)
def test_mm_vet_in_the_model_zoo_is_the_mean_of_the_runs(model: str, totals: list[float], published: float) -> None:
    found = []
    for grades in PUBLISHED["mm-vet"][model]:
        docs = [
            {"question_id": f"v1_{number}", "question": "Which?", "answer": "this", "capability": "rec"}
            for number in range(218)
        ]
        scored = evals.score("mm-vet", docs, ["That."] * len(docs), _reciting([str(grade) for grade in grades]))
        assert {sample.state for sample in scored.samples} == {"ok"}
        found.append(scored.metrics["score"])
    assert [round(total, 1) for total in found] == totals
    assert round(fmean(found), 1) == published
