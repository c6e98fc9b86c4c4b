"""MathVista and MathVerse: answers in the form asked for, with and without a judge."""

from typing import Any

import pytest

from cli_ray import evals
from cli_ray.evals.benchmark import Messages
from cli_ray.evals.scoring.math import extracted, normalised


def free(kind: str, answer: str, precision: float | None = None) -> dict[str, Any]:
    """A question without options."""
    return {
        "pid": "1", "question": "How many?", "query": "How many?", "choices": None, "unit": None,
        "precision": precision, "answer": answer, "question_type": "free_form", "answer_type": kind,
        "metadata": {"task": "counting", "skills": ["logic", "arithmetic"]},
    }  # fmt: skip


def choice(answer: str = "a dog") -> dict[str, Any]:
    """A question with options."""
    return free("text", answer) | {"question_type": "multi_choice", "choices": ["cat", "a dog", "7"]}


def never(messages: Messages) -> str:
    """A judge that must not be asked."""
    raise AssertionError(messages)


@pytest.mark.parametrize(
    ("doc", "reply", "score"),
    [
        (choice(), "a dog", 1),
        (choice(), "cat", 0),
        (free("integer", "12"), "12", 1),
        (free("integer", "12"), "-12", 0),
        (free("float", "1.2", 1), "1.24", 1),
        (choice(), "", 0),
        (free("integer", "12"), "", 0),
    ],
)
def test_a_whole_reply_that_is_an_answer_needs_no_judge(doc: dict[str, Any], reply: str, score: float) -> None:
    (sample,) = evals.score("mathvista-testmini", [doc], [reply], never).samples
    assert (sample.score, sample.state) == (score, "ok" if reply else "unparsed")


def test_nothing_is_guessed_for_an_empty_reply() -> None:
    """Upstream takes the option nearest to nothing, which is the shortest."""
    (sample,) = evals.score("mathvista-testmini", [choice("7")], [""], never).samples
    assert (sample.score, sample.parsed, sample.state) == (0, "", "unparsed")


@pytest.mark.parametrize(
    ("answer", "score", "rule"),
    [
        ("B", 1, "judge"),
        ("(b) a dog", 1, "judge"),
        ("a dog", 1, "judge"),
        ("a dig", 1, "judge, nearest option"),
        ("A", 0, "judge"),
    ],
)
def test_an_extraction_names_an_option_or_the_nearest_is_taken(answer: str, score: float, rule: str) -> None:
    (sample,) = evals.score("mathvista-testmini", [choice()], ["well"], lambda messages: answer).samples
    assert (sample.score, sample.rule) == (score, rule)


def test_upstream_misses_answers_to_a_float_precision() -> None:
    """The column `precision` holds floats, which `round` refuses."""
    assert normalised(free("float", "1.2", 1.0), "1.24") is None
    assert normalised(free("float", "1.2", 1.0), "1.24", strict=True) == "1.2"
    doc = free("float", "1.2", 1.0)
    assert evals.score("mathvista-testmini", [doc], ["1.2"]).samples[0].score == 0
    assert evals.score("mathvista-testmini", [doc], ["1.2"], profile="strict").samples[0].score == 1


@pytest.mark.parametrize(
    ("doc", "reply", "answer"),
    [
        (choice(), "The answer is (B).", "B"),
        (choice(), "I see a dog there", "B"),
        (choice(), "I see a cow there", ""),
        (free("integer", "1200"), "There are 3 of 400, so the answer is 1,200 in all of 5", "1200"),
        (free("integer", "12"), "First 3, then 12.", "12"),
        (free("float", "0.5", 1.0), "x = -.5", "-.5"),
        (free("list", "[1, 2]"), "From [0] to [1, 2].", "[1, 2]"),
        (free("integer", "12"), "a dozen", ""),
    ],
)
def test_the_stand_in_reads_plain_statements(doc: dict[str, Any], reply: str, answer: str) -> None:
    assert extracted(doc, reply)[0] == answer


def test_without_a_judge_the_stand_in_is_beside_the_score() -> None:
    (sample,) = evals.score("mathvista-testmini", [choice()], ["The answer is (B)."]).samples
    assert (sample.score, sample.stand_in, sample.state, sample.rule) == (None, 1.0, "unjudged", "no judge")


def test_accuracy_is_given_by_type_and_by_each_skill() -> None:
    metrics = evals.score("mathvista-testmini", [free("integer", "1"), choice()], ["1", "cat"]).metrics
    assert metrics["accuracy"] == metrics["accuracy/skills/logic"] == metrics["accuracy/task/counting"] == 50.0
    assert (metrics["accuracy/answer_type/integer"], metrics["accuracy/answer_type/text"]) == (100.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "gold", "reply", "stand_in"),
    [
        ("multi-choice", "C", "So the answer is C", 1),
        ("multi-choice", "C", "B", 0),
        ("free-form", "12 cm", "It has 3 sides, so 12.0", 1),
        ("free-form", "12 cm", "13", 0),
        ("free-form", "y=x", "Y=X.", 1),
    ],
)
def test_mathverse_has_a_stand_in(kind: str, gold: str, reply: str, stand_in: float) -> None:
    doc = {
        "sample_index": "1", "problem_index": "1", "problem_version": "Vision Only", "question_for_eval": "x?",
        "query_wo": "x?", "answer": gold, "question_type": kind, "metadata": {"subfield": "Angle"},
    }  # fmt: skip
    (sample,) = evals.score("mathverse-testmini", [doc], [reply]).samples
    assert (sample.state, sample.stand_in) == ("unjudged", stand_in)
    (judged,) = evals.score("mathverse-testmini", [doc], [reply], lambda messages: "1").samples
    assert (judged.state, judged.score) == ("ok", 1)
