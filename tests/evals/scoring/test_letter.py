"""Letters in replies: upstream's reading with its quirks, and the strict one without."""

import pytest

from cli_ray.evals.scoring.letter import denials, find_letter, read_letter


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
        ("B is correct", "B"),
        ("(B) is the right answer, I think", "B"),
        ("B is the best option", "B"),
        ("Option B", "B"),
        ("choice (B) fits", "B"),
        ("The correct option is B.", "B"),
        ("The answer is B because it barks", "B"),
        ("The answer is: **B**", "B"),
        ("I choose B", "B"),
        ("B\nBecause it is so.", "B"),
        ("Let me see.\n\n(B)", "B"),
        ("A. a cat\nB. a dog\nAnswer: B", "B"),
    ],
)
def test_strict_reading(reply: str, letter: str) -> None:
    assert read_letter(reply)[0] == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(A) is wrong, so B", "B"),
        ("The answer is not (A) but (B)", "B"),
        ("Not A. The answer is B.", "B"),
        ("It is not A, B is correct", "B"),
        ("B, not A", "B"),
        ("B rather than A", "B"),
        ("A and C are incorrect, and it is (B)", "B"),
        ("Neither A, C nor D fits, therefore B.", "B"),
        ("A is clearly wrong. B is right.", "B"),
        ("A isn\u2019t it. Option B.", "B"),
        ("I eliminate (A) and (C). (B) stays", "B"),
        ("The answer is not (A)", ""),
        ("The answer is not B.", ""),
        ("B is not correct", ""),
        ("I don't think A is correct", ""),
        ("The wrong answer is A", ""),
        ("Option A cannot be eliminated", ""),
    ],
)
def test_a_letter_that_is_denied_is_not_stated(reply: str, letter: str) -> None:
    assert read_letter(reply)[0] == letter


def test_denials_name_letters_and_texts() -> None:
    assert denials("It is not a dog. A and C are wrong, B is not.", "ABC") == ["A and C are wrong", "B is not"]
    assert denials("It is not a Dog but a cat", ("A", "B", "dog", "cat")) == ["not a Dog"]
    assert denials("I am not sure. A cat", ("A", "cat")) == []


@pytest.mark.parametrize(
    "reply",
    ["A or B is correct", "The answer is A or B", "Answer: A, B", "(A)/(B)", "(A) or (B)", "A\nB", "A. cat\nB. dog",
     "Option A is a cat. Option B is a dog.", "B is right of the dog", "So A dog"],
)  # fmt: skip
def test_what_may_be_either_is_not_read(reply: str) -> None:
    assert read_letter(reply) == ("", "")


@pytest.mark.parametrize(
    "reply",
    ["A dog", "ABC", "The answer is A dog", "either (A) or (C)", "A.M.", "Because", "", "A's", "the answer is a dog"],
)
def test_articles_words_and_hedges_are_no_letters(reply: str) -> None:
    assert read_letter(reply) == ("", "")
