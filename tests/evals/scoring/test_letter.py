"""Letters in replies, found as upstream finds them, with its quirks."""

import pytest

from cli_ray.evals.scoring.letter import find_letter


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
