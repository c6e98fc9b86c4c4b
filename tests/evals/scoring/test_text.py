"""Short answers: equality but for case and punctuation, edit similarity, numbers within 5 percent."""

import pytest

from cli_ray.evals.scoring.text import anls, exact, relaxed, relaxed_as_written, without_punctuation


def test_case_and_punctuation_do_not_count_but_spaces_do() -> None:
    assert without_punctuation("It's (B)!") == "its b"
    assert exact("T-shirt", "tshirt.").score == 1.0
    assert exact("t shirt", "tshirt").score == 0.0


def test_nothing_but_punctuation_is_unparsed() -> None:
    assert exact("dog", "...").state == "unparsed"
    assert exact("dog", "cat").state == "ok"


@pytest.mark.parametrize(
    ("golds", "reply", "score"),
    [
        (["Main Street"], "main street", 1.0),
        (["Main Street"], "main  street", 1.0),
        (["abcd"], "abcx", 0.75),
        (["abcd"], "abxx", 0.5),
        (["abcd"], "axxx", 0.0),
        (["zzzz", "abcd"], "abcx", 0.75),
        (["abcd"], "", 0.0),
        ([""], "", 1.0),
    ],
)
def test_similarity_to_the_nearest_gold_answer(golds: list[str], reply: str, score: float) -> None:
    assert anls(golds, reply).score == pytest.approx(score)


def test_an_empty_reply_has_no_similarity_and_is_unparsed() -> None:
    assert anls(["a"], "").state == "unparsed"
    assert anls(["a"], "b").state == "ok"


@pytest.mark.parametrize(
    ("gold", "reply", "score"),
    [
        ("100", "105", 1.0),
        ("100", "105.1", 0.0),
        ("100", "95", 1.0),
        ("0.5", "50%", 1.0),
        ("50%", "0.51", 1.0),
        ("1000", "1,000", 0.0),
        ("1,000", "1,000", 1.0),
        ("0", "0", 1.0),
        ("0", "0.0", 0.0),
        ("-10", "-10.4", 1.0),
        ("Dog", "dog", 1.0),
        ("Dog", "dog.", 0.0),
        ("nan", "nan", 0.0),
    ],
)
def test_tolerance(gold: str, reply: str, score: float) -> None:
    assert relaxed(gold, reply).score == score


def test_what_was_read_is_reported() -> None:
    assert (relaxed("100", "98").parsed, relaxed("100", "98").rule) == ("98.0", "number")
    assert relaxed("dog", "").state == "unparsed"


@pytest.mark.parametrize(
    ("gold", "reply", "score"),
    [
        ("Yes", "Yes.", 1.0),
        ("2", "2%", 1.0),
        ("0.02", "2%", 1.0),
        ("2%", "2", 1.0),
        ("2%", "0.02", 1.0),
        ("2%", "2%", 1.0),
        ("2", "200%", 1.0),
        ("2%", "200%", 0.0),
        ("2", "0.02", 0.0),
        ("1000", "1,000", 1.0),
        ("1,234,567.5", "1234567.5", 1.0),
        ("1000", "1,000.", 1.0),
        ("1000", "$1,000", 1.0),
        ("12", "**12**", 1.0),
        ("-10", "\u221210.4", 1.0),
        ("0", "0.0", 1.0),
        ("0", "0.01", 0.0),
        ("100", "105.1", 0.0),
        ("1", "1,2", 0.0),
        ("12", "12 dogs", 0.0),
        ("Yes", "No.", 0.0),
        ("Dog", "“dog”", 1.0),
        ("nan", "nan", 1.0),
        ("5", "", 0.0),
    ],
)
def test_numbers_and_texts_as_people_write_them(gold: str, reply: str, score: float) -> None:
    assert relaxed_as_written(gold, reply).score == score
