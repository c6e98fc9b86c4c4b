"""When bad samples are too many, and what is said then."""

import json
from collections import Counter

import pytest

from cli_ray.data.quarantine import Quarantine, allowed
from cli_ray.data.sample import BadSample

BAD = BadSample("a.tar#3", "photos", "/d/a.tar, bytes 0-9", "broken image", "zero bytes")
LOST = BadSample("b.tar#0", "photos", "/d/b.tar", "broken shard", "the file is empty", samples=500)


def test_lines_and_counts() -> None:
    lines: list[str] = []
    quarantine = Quarantine(lines.append, "runs/x/quarantine")
    quarantine.add([BAD, LOST])
    quarantine.add([BAD])
    assert [json.loads(line) for line in lines] == [
        {
            "id": "a.tar#3",
            "source": "photos",
            "where": "/d/a.tar, bytes 0-9",
            "reason": "broken image",
            "detail": "zero bytes",
            "samples": 1,
        },
        {
            "id": "b.tar#0",
            "source": "photos",
            "where": "/d/b.tar",
            "reason": "broken shard",
            "detail": "the file is empty",
            "samples": 500,
        },
    ]
    assert quarantine.reasons == {"broken image": 1, "broken shard": 500}


def test_lines_of_an_earlier_start_count_on_one_rank_and_are_not_written_again() -> None:
    lines: list[str] = []
    Quarantine(lines.append, "q").add([BAD, LOST])
    again: list[str] = []
    ranks = [Quarantine(again.append, "q") for _ in range(2)]
    for rank, quarantine in enumerate(ranks):
        quarantine.resume([*lines, lines[0][:20]], counted=rank == 0)
        quarantine.add([BAD])
    assert again == []
    assert sum((quarantine.reasons for quarantine in ranks), Counter()) == {"broken image": 1, "broken shard": 500}
    assert ranks[0].example == BAD


@pytest.mark.parametrize(
    ("samples", "share", "most"),
    [(100, 0.29, 29), (100, 0.07, 7), (2000, 0.01, 20), (99, 0.01, 0), (50, 0, 0), (7, 1, 7)],
)
def test_a_share_is_a_number_of_samples(samples: int, share: float, most: int) -> None:
    assert allowed(samples, share) == most
