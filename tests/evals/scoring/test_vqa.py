"""VQA accuracy: agreement with ten people, and what counts as the same answer."""

import pytest

from cli_ray.evals.scoring.vqa import agreement, agreement_of_entries, graded, normal, short_normal


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("The Cat", "cat", "cat"),
        ("1,000", "1000", "1000"),
        ("two dogs.", "2 dogs", "2 dogs"),
        ("None", "0", "0"),
        ("dont know", "don't know", "don't know"),
        ("top-left", "top left", "top left"),
        ("top -left", "top left", "top left"),
        ("a - b", "b", "b"),
        ("3.5", "3.5", "3.5"),
        ("3.", "3", "3"),
        ("dog's tail", "dog 's tail", "dog's tail"),
        ("yes,no", "yesno", "yes no"),
        ("yes\nno", "yes no", "yes no"),
    ],
)
def test_normalisers(text: str, full: str, short: str) -> None:
    assert normal(text) == full
    assert short_normal(text) == short


@pytest.mark.parametrize(("equal", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_three_others_make_an_answer_right(equal: int, score: float) -> None:
    golds = ["dog"] * equal + ["cat"] * (10 - equal)
    assert agreement("dog", golds) == pytest.approx(score)
    entries = [{"answer": gold, "answer_id": place} for place, gold in enumerate(golds)]
    assert agreement_of_entries("dog", entries) == pytest.approx(score)


def test_nothing_to_agree_with_is_no_agreement() -> None:
    assert agreement("dog", []) == agreement_of_entries("dog", []) == 0.0


def test_an_empty_reply_is_unparsed() -> None:
    assert graded(["dog"] * 10, "").state == "unparsed"
    assert graded(["dog"] * 10, "A dog.").score == 1.0
