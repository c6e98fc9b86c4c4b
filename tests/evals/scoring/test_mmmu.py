"""MMMU: letters and open answers are read as upstream reads them, and strictly nothing is drawn."""

from typing import Any

import pytest

from cli_ray import evals
from cli_ray.evals.benchmark import Answer
from cli_ray.evals.scoring.mmmu import candidates, choose, matches
from cli_ray.evals.suite import benchmark

PETS = {"A": "cat", "B": "dog", "C": "bird"}


def choice(number: int, answer: str = "B", subject: str = "Art_Theory") -> dict[str, Any]:
    """A question with options."""
    return {
        "id": f"validation_{subject}_{number}", "question": "Which?", "options": "['cat', 'dog', 'bird']",
        "answer": answer, "question_type": "multiple-choice",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("(A) or (B)", ("B", "letter in brackets")),
        ("B is right, C is wrong", ("C", "letter and space")),
        ("B.", ("B", "letter and space")),
        ("xB.y", ("B", "letter and dot")),
        ("it may be a cat or perhaps the dog", ("B", "option text")),
        ("the dog", ("", "")),
        ("", ("", "")),
    ],
)
def test_letters_are_chosen_as_upstream_does(reply: str, expected: tuple[str, str]) -> None:
    assert choose(reply, PETS) == expected


@pytest.mark.parametrize(
    ("reply", "given"),
    [
        ("The answer is 1,200.", [1200.0, 1200.0, 200.0]),
        ("so x = 3.456", [3.46, 3.46]),
        ("It is red. \nTherefore blue", ["red.", "blue"]),
        ("7", [7.0, 7.0]),
        ("y", [" y", "y "]),
        ("", [""]),
    ],
)
def test_candidates_are_tails_and_numbers(reply: str, given: list[str | float]) -> None:
    assert candidates(reply) == given


@pytest.mark.parametrize(
    ("golds", "reply", "right"),
    [
        (["42"], "The result is 42", True),
        (["42"], "42.004", True),
        (["42"], "420", False),
        (["blue"], "It is bluish", False),
        (["blue"], "It is blueish", True),
        (["7", "seven"], "seven", True),
    ],
)
def test_gold_texts_are_sought_and_numbers_compared(golds: list[str], reply: str, right: bool) -> None:
    assert matches(golds, candidates(reply)) is right


def test_an_unreadable_choice_is_drawn_by_its_id_and_said_to_be() -> None:
    docs = [choice(number) for number in range(200)]
    found, again = (evals.score("mmmu-val", docs, ["who knows"] * 200) for _ in range(2))
    assert found == again
    assert {(sample.rule, sample.state) for sample in found.samples} == {("random", "unparsed")}
    assert {sample.parsed for sample in found.samples} == {"A", "B", "C"}
    assert 20 < found.metrics["accuracy"] < 47
    strict = evals.score("mmmu-val", docs, ["who knows"] * 200, profile="strict")
    assert strict.metrics["accuracy"] == 0.0
    assert {(sample.parsed, sample.state) for sample in strict.samples} == {("", "unparsed")}


def test_strictly_a_list_of_gold_answers_is_a_list() -> None:
    doc = choice(1, "['7', 'seven']") | {"question_type": "open", "options": "[]"}
    assert evals.score("mmmu-val", [doc], ["seven"]).samples[0].score == 0
    assert evals.score("mmmu-val", [doc], ["seven"], profile="strict").samples[0].score == 1


def test_accuracy_is_given_by_domain_and_subject() -> None:
    docs = [choice(1), choice(2), choice(3, subject="Math"), choice(4, subject="Physics")]
    assert evals.score("mmmu-val", docs, ["B", "A", "B", "A"]).metrics == {
        "accuracy": 50.0, "accuracy/Art and Design": 50.0, "accuracy/Science": 50.0, "accuracy/Art_Theory": 50.0,
        "accuracy/Math": 100.0, "accuracy/Physics": 0.0,
    }  # fmt: skip


def test_the_test_split_has_no_score_and_a_submission() -> None:
    doc = {key: value for key, value in choice(1).items() if key != "answer"}
    (sample,) = evals.score("mmmu-test", [doc], ["(C)"]).samples
    assert (sample.score, sample.parsed) == (None, "C")
    submission = benchmark("mmmu-test").submission
    assert submission
    assert submission.write([Answer(sample.id, "(C)", sample.parsed, {})]) == b'{"validation_Art_Theory_1": "C"}'


def test_a_hidden_choice_that_cannot_be_read_is_drawn_as_upstream_and_strictly_left_empty() -> None:
    doc = {"id": "test_Art_1", "question": "Which?", "options": "['cat', 'dog']", "question_type": "multiple-choice"}
    (drawn,) = evals.score("mmmu-test", [doc], ["Who knows"]).samples
    (left,) = evals.score("mmmu-test", [doc], ["Who knows"], profile="strict").samples
    assert (drawn.rule, drawn.state, left.parsed, left.state) == ("random", "unparsed", "", "unparsed")
    assert drawn.parsed in "AB"
    assert evals.score("mmmu-test", [doc], ["\\boxed{B}"], profile="strict").samples[0].parsed == "B"
