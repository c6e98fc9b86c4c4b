"""Replies read as VLMEvalKit reads them without a judge."""

import pytest

from cli_ray.evals.scoring.vlmevalkit import infer, yes_or_no

OPTIONS = {"A": "cat", "B": "dog", "C": "a red fox", "D": "none"}


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("A", "A"),
        ("A.", "A"),
        ("(B)", "B"),
        ("B. dog", "B"),
        ("The answer is A.", "A"),
        ("**C**", "C"),
        ("Answer: D", "D"),
        ("I think that it is B, for sure.", "B"),
        ("dog", "B"),
        ("It is a DOG.", "B"),
        ("B is right, as anyone can see.", ""),  # not among the last four words
        ("The fox stands in the grass and looks at us, and beside it a dog", ""),  # too long for a quotation
        ("A or B", ""),
        ("b", ""),
        ("cat and dog", ""),
        ("A cat sits", "A"),  # the article counts as the letter
        ("Z", ""),
        ("Cannot determine the answer. A", ""),
        ("", ""),
        ("E", ""),
    ],
)
def test_letters(reply: str, letter: str) -> None:
    assert infer(reply, OPTIONS)[0] == letter


def test_a_letter_of_no_option_is_none() -> None:
    assert infer("D", {"A": "cat", "B": "dog"}) == ("", "")


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ("Yes, there is a dog in the image.", "yes"),
        ("There is no dog.", "no"),
        ("Yes/no", ""),
        ("**Yes**", ""),
        ("Yes, but no cat.", ""),
        ("I do not know", ""),
        ("There isn't one.", ""),
        ("nobody", ""),
        ("", ""),
    ],
)
def test_words(reply: str, word: str) -> None:
    assert yes_or_no(reply)[0] == word
