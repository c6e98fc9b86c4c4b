"""When bad samples are too many, and what is said then."""

import json

import pytest

from cli_ray.data.quarantine import Quarantine, TooManyBadSamplesError
from cli_ray.data.sample import BadSample

BAD = BadSample("a.tar#3", "photos", "/d/a.tar, bytes 0-9", "broken image", "zero bytes")


def test_lines_and_counts() -> None:
    lines: list[str] = []
    quarantine = Quarantine(lines.append, "runs/x/quarantine/0.jsonl", 0.5)
    quarantine.add(3, [BAD])
    quarantine.check()
    assert [json.loads(line) for line in lines] == [
        {
            "id": "a.tar#3",
            "source": "photos",
            "where": "/d/a.tar, bytes 0-9",
            "reason": "broken image",
            "detail": "zero bytes",
        }
    ]
    assert (quarantine.seen, quarantine.num_bad, quarantine.reasons) == (4, 1, {"broken image": 1})


def test_few_samples_say_nothing_before_the_epoch_ends() -> None:
    quarantine = Quarantine(lambda _: None, "q", 0.01)
    quarantine.add(97, [BAD, BAD])
    quarantine.check()
    with pytest.raises(TooManyBadSamplesError):
        quarantine.check(end_of_epoch=True)
    quarantine.add(1, [])
    with pytest.raises(TooManyBadSamplesError):
        quarantine.check()
    quarantine.add(100, [])
    quarantine.check(end_of_epoch=True)


def test_the_error_names_counts_an_example_and_what_to_do() -> None:
    quarantine = Quarantine(lambda _: None, "runs/x/quarantine/0.jsonl", 0.01)
    quarantine.add(95, [BAD] * 4 + [BadSample("b", "s", "w", "too long", "9 tokens")])
    with pytest.raises(TooManyBadSamplesError) as caught:
        quarantine.check()
    for part in (
        "5 of 100 samples are bad (5.0%)",
        "data.max_bad_share allows 1.0%",
        "broken image 4, too long 1",
        "a.tar#3 of photos (/d/a.tar, bytes 0-9): broken image: zero bytes",
        "runs/x/quarantine/0.jsonl",
    ):
        assert part in str(caught.value)
