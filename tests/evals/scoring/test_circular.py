"""MMBench: a question counts if it is right under each rotation of its options."""

import math

import pytest

from cli_ray import evals
from cli_ray.evals.benchmark import Reply
from cli_ray.evals.scoring.circular import infer

PETS = {"A": "cat", "B": "dog", "C": "bird", "D": "nan"}


def row(turn: int, answer: str, question: int = 7, category: str = "pets") -> dict[str, object]:
    """A rotation of a question."""
    return {
        "index": question + turn * 10**6, "question": "Which?", "hint": math.nan, "A": "cat", "B": "dog", "C": "nan",
        "D": None, "answer": answer, "category": category, "L2-category": "animals",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("B", ("B", "letter as a word")),
        ("(B)", ("B", "letter as a word")),
        ("Either C. or so", ("C", "letter as a word")),
        ("A dog", ("A", "letter as a word")),
        ("A dog is over there", ("B", "option text")),
        ("a banana", ("D", "option text")),
        ("It is not A or B", ("B", "letter at end")),
        ("I see", ("", "")),
        ("", ("", "")),
    ],
)
def test_letters_are_inferred_as_upstream_does(reply: str, expected: tuple[str, str]) -> None:
    assert infer(reply, PETS) == expected


def test_without_options_nothing_is_inferred() -> None:
    assert infer("so", {}) == ("", "")


def test_one_wrong_rotation_loses_the_question() -> None:
    docs = [row(0, "A"), row(1, "B"), row(0, "B", 8, "cars"), row(1, "A", 8, "cars")]
    found = evals.score("mmbench-en-dev", docs, ["A", "B", "B", "B"])
    assert [sample.score for sample in found.samples] == [1, 1, 1, 0]
    assert [sample.unit for sample in found.samples] == ["7", "7", "8", "8"]
    assert found.metrics == {
        "accuracy": 50.0, "accuracy/animals": 50.0, "accuracy/pets": 100.0, "accuracy/cars": 0.0,
    }  # fmt: skip


def test_a_question_with_a_failed_rotation_does_not_count() -> None:
    docs = [row(0, "A"), row(1, "B"), row(0, "B", 8)]
    found = evals.score("mmbench-en-dev", docs, ["A", Reply("out of memory", "error"), "B"])
    assert found.metrics["accuracy"] == 100.0
    assert [sample.state for sample in found.samples] == ["ok", "error", "ok"]


def test_rotations_without_their_question_count_nowhere() -> None:
    assert evals.score("mmbench-cn-dev", [row(1, "B"), row(0, "A", 8)], ["B", "B"]).metrics["accuracy"] == 0.0
    assert evals.score("mmbench-cn-dev", [row(1, "B")], ["B"]).metrics == {}


def test_strictly_an_article_is_no_letter_and_nan_no_option() -> None:
    for reply, profile, strict in (("A dog", "A", "B"), ("a banana", "C", ""), ("It is not A or B", "B", "")):
        (ours,) = evals.score("mmbench-en-dev", [row(0, "A")], [reply]).samples
        (read,) = evals.score("mmbench-en-dev", [row(0, "A")], [reply], profile="strict").samples
        assert (ours.parsed, read.parsed) == (profile, strict)
        assert read.state == ("ok" if strict else "unparsed")
