"""Options are recognised by their text: anywhere as upstream does, as whole words in our strict reading."""

import pytest

from cli_ray.evals.scoring.choice import stated
from cli_ray.evals.scoring.option_text import only_option, quoted_options

PETS = {"A": "cat", "B": "dog", "C": "bird"}


def test_quotes_may_lie_within_words() -> None:
    assert quoted_options("A Category of DOGS", PETS) == ["A", "B"]
    assert quoted_options("fish", PETS) == []


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("It is a dog.", "B"),
        ("a DOG", "B"),
        ("Two dogs", ""),
        ("A dog or a cat", ""),
        ("category", ""),
        ("(bird)", "C"),
        ("", ""),
    ],
)
def test_the_one_option_stands_as_whole_words(reply: str, letter: str) -> None:
    assert only_option(reply, PETS) == letter


def test_an_option_without_text_is_never_quoted() -> None:
    assert only_option("anything", {"A": " ", "B": "thing"}) == ""


def test_options_with_marks_are_taken_literally() -> None:
    assert only_option("so it is $(3.5)", {"A": "$(3.5)", "B": "3.5"}) == ""
    assert only_option("so it is $(345)", {"A": "$(3.5)", "B": ".*"}) == ""


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("B", ("B", "letter alone")),
        ("A dog is here", ("B", "option text")),
        ("C. bird, not the dog", ("C", "letter at start")),
        ("ABC", ("", "")),
    ],
)
def test_a_stated_letter_goes_before_a_quoted_option(reply: str, expected: tuple[str, str]) -> None:
    assert stated(reply, PETS) == expected


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("\u8fd9\u662f\u732b\u3002", "A"),
        ("\u732b", "A"),
        ("\u8fd9\u662f\u718a\u732b", ""),
        ("\u8fd9\u4e0d\u662f\u732b", ""),
        ("\u4e0d\u662f\u732b\uff0c\u662f\u72d7", "B"),
        ("\u732b\u548c\u72d7", ""),
    ],
)
def test_chinese_options_are_quoted_as_words(reply: str, letter: str) -> None:
    """A cat and a dog; a panda has the character of the cat in its name."""
    assert stated(reply, {"A": "\u732b", "B": "\u72d7"})[0] == letter
