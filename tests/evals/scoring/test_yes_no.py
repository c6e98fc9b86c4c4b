"""Yes and no in replies."""

import pytest

from cli_ray.evals.scoring.yes_no import first_letters, first_word, graded


@pytest.mark.parametrize(
    ("reply", "letters", "word"),
    [
        ("Yes", "yes", "yes"),
        ("no.", "no", "no"),
        ("y", "yes", "yes"),
        ("N.", "no", "no"),
        ("not at all", "no", ""),
        ("I know", "", ""),
        ("eyes", "yes", ""),
        ("There is no dog", "", "no"),
        ("Yes, there is no dog", "yes", "yes"),
        ("Nothing", "no", ""),
        ("", "", ""),
    ],
)
def test_readings(reply: str, letters: str, word: str) -> None:
    assert first_letters(reply)[0] == letters
    assert first_word(reply)[0] == word


def test_nothing_read_is_wrong_and_unparsed() -> None:
    assert (graded("no", ("", "")).score, graded("no", ("", "")).state) == (0.0, "unparsed")
    assert graded("no", first_word("No")).score == 1.0
