"""Edit similarity to the nearest gold answer."""

import pytest

from cli_ray.evals.scoring.text import anls


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
def test_similarity(golds: list[str], reply: str, score: float) -> None:
    assert anls(golds, reply).score == pytest.approx(score)


def test_an_empty_reply_is_unparsed() -> None:
    assert anls(["a"], "").state == "unparsed"
    assert anls(["a"], "b").state == "ok"
