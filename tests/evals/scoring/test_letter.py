"""Letters in replies: upstream's reading with its quirks, and the strict one without."""

import pytest

from evals.scoring.letter import find_letter, read_letter


@pytest.mark.parametrize(
    ("reply", "letter", "rule"),
    [
        ("B", "B", "letter at start"),
        ("B. a dog", "B", "letter at start"),
        ("It is B", "B", "letter at end"),
        ("the answer is C, I think", "C", "letter after a phrase"),
        ("either (A) or (C) fits", "C", "letter in brackets"),
        ("so D: yes", "D", "letter and colon"),
        ("A dog", "A", "letter at start"),
        ("ABC", "C", "letter and space"),
        ("xBx", "B", "any letter"),
        ("a dog", "", ""),
        ("", "", ""),
        ("..", "", ""),
    ],
)
def test_upstreams_reading(reply: str, letter: str, rule: str) -> None:
    assert find_letter(reply, "ABCD") == (letter, rule)


def test_only_letters_of_options_are_found() -> None:
    assert find_letter("E", "ABCD") == ("", "")
    assert find_letter("E")[0] == "E"
    assert read_letter("E", "ABCDE")[0] == "E"
    assert read_letter("E", "ABCD") == ("", "")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("b.", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B. a dog", "B"),
        ("B) a dog", "B"),
        ("The answer is (B).", "B"),
        ("Answer: C", "C"),
        ("The answer is A. No, the answer is D.", "D"),
        ("I think (C) fits", "C"),
    ],
)
def test_strict_reading(reply: str, letter: str) -> None:
    assert read_letter(reply)[0] == letter


@pytest.mark.parametrize(
    "reply",
    ["A dog", "ABC", "The answer is A dog", "either (A) or (C)", "A.M.", "Because", "", "A's", "the answer is a dog"],
)
def test_articles_words_and_hedges_are_no_letters(reply: str) -> None:
    assert read_letter(reply) == ("", "")
