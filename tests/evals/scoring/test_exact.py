"""Equality but for case and punctuation."""

from cli_ray.evals.scoring.text import exact, without_punctuation


def test_case_and_punctuation_do_not_count_but_spaces_do() -> None:
    assert without_punctuation("It's (B)!") == "its b"
    assert exact("T-shirt", "tshirt.").score == 1.0
    assert exact("t shirt", "tshirt").score == 0.0


def test_nothing_but_punctuation_is_unparsed() -> None:
    assert exact("dog", "...").state == "unparsed"
    assert exact("dog", "cat").state == "ok"
