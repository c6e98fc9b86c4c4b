"""Numbers within 5 percent, texts but for case."""

import pytest

from cli_ray.evals.scoring.relaxed import relaxed


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


def test_what_was_read_is_told() -> None:
    assert (relaxed("100", "98").parsed, relaxed("100", "98").rule) == ("98.0", "number")
    assert relaxed("dog", "").state == "unparsed"
