"""MM-Vet and LLaVA-in-the-Wild: grades of a judge, and what stands in for them."""

from typing import Any

import pytest

from cli_ray import evals
from cli_ray.evals.benchmark import Messages
from cli_ray.evals.scoring.text import rouge_l


def mmvet(gold: str = "-1<AND>-5", abilities: str = "ocr,math") -> dict[str, Any]:
    """An item of MM-Vet."""
    return {"question_id": "v1_0", "question": "What is x?", "answer": gold, "capability": abilities}


def llava(category: str = "conv", caption: Any = "A dog.") -> dict[str, Any]:
    """An item of LLaVA-Bench."""
    return {
        "question_id": 1, "question": "What is it?", "gpt_answer": "It is a dog.", "caption": caption,
        "category": category,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("0.7", 0.7),
        (" 1.0 as all is there", 1.0),
        ("0", 0.0),
        ("1.1", None),
        ("-0.1", None),
        ("good", None),
        ("nan", None),
    ],
)
def test_mmvet_takes_the_first_word_as_grade(answer: str, score: float | None) -> None:
    (sample,) = evals.score("mm-vet", [mmvet()], ["x = -1"], lambda messages: answer).samples
    assert (sample.score, sample.state) == (score, "unjudged" if score is None else "ok")
    assert sample.rule == ("judge answered nonsense" if score is None else "judge")


def test_mmvet_asks_in_a_row_of_the_official_table() -> None:
    def judge(messages: Messages) -> str:
        (message,) = messages
        assert message["content"].startswith("Compare the ground truth and prediction from AI models")
        assert message["content"].endswith("\n\nWhat is x? | -1 <AND> -5 | x = -1 |")
        return "1"

    assert evals.score("mm-vet", [mmvet()], [" x = -1 "], judge).metrics["score"] == 100.0


@pytest.mark.parametrize(
    ("gold", "reply", "stand_in"),
    [
        ("-1<AND>-5", "x = -1 or x = -5", 1.0),
        ("-1<AND>-5", "x = -1", 0.5),
        ("a Dog<OR>puppy", "the PUPPY", 1.0),
        ("Paris", "Rome", 0.0),
        ("Paris", "", 0.0),
    ],
)
def test_mmvet_has_a_stand_in(gold: str, reply: str, stand_in: float) -> None:
    (sample,) = evals.score("mm-vet", [mmvet(gold)], [reply]).samples
    assert (sample.score, sample.stand_in, sample.state) == (None, stand_in, "unjudged")


def test_mmvet_is_given_by_ability_and_combination() -> None:
    docs = [mmvet("1", "ocr,math"), mmvet("2", "math,ocr"), mmvet("3", "ocr")]
    grades = iter(("0.1", "0.2", "0.6"))
    metrics = evals.score("mm-vet", docs, ["1", "2", "3"], lambda messages: next(grades)).metrics
    assert metrics == pytest.approx({"score": 30.0, "score/math": 15.0, "score/math+ocr": 15.0, "score/ocr": 30.0})


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        ("8 7", (8, 0.7)),
        ("10, 9.5\nBoth are good: 1 2", (10, 0.95)),
        ("9", None),
        ("good and better", None),
        ("80 90", None),
        ("-1 -1", None),
        ("", None),
    ],
)
def test_llava_wild_takes_two_points_of_the_first_line(answer: str, points: tuple[float, float] | None) -> None:
    (sample,) = evals.score("llava-wild", [llava()], ["a dog"], lambda messages: answer).samples
    assert sample.state == ("ok" if points else "unjudged")
    assert (sample.parts.get("reference"), sample.score) == (points or (None, None))


def test_llava_wild_is_relative_to_the_reference_by_category() -> None:
    docs = [llava("conv"), llava("detail", ["A dog.", "It barks."])]
    answers = iter(("10 5", "5 5"))
    metrics = evals.score("llava-wild", docs, ["a", "b"], lambda messages: next(answers)).metrics
    assert metrics == pytest.approx(
        {"relative score": 100 * 10 / 15, "relative score/conv": 50.0, "relative score/detail": 100.0}
    )


def test_rouge_counts_words_in_order() -> None:
    assert rouge_l("It is a dog.", "it IS a dog") == 1.0
    assert rouge_l("a b c d", "d c b a") == 0.25
    assert rouge_l("a b c d", "a c") == pytest.approx(2 * 2 / 6)
    assert rouge_l("a", "") == rouge_l("", "a") == 0.0
