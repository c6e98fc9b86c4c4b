"""A rank's share of a step: the same samples as micro-batches and as packs."""

from collections import Counter

import numpy as np

from cli_ray.data.sample import IGNORED, BadSample, Encoded
from cli_ray.data.share import Cut, Share

BAD = BadSample("bad", "s", "there", "too long", "very", samples=3)


def row(name: str, length: int) -> Encoded:
    ids = np.arange(length, dtype=np.int32)
    labels = np.where(ids % 2 == 0, ids, IGNORED).astype(np.int32)
    return Encoded(name, f"of-{name}", ids, labels, [], np.zeros((0, 2), np.int32), ids * 0)


CUTS = [Cut([row("a", 5), BAD, row("b", 3)], (0, 0)), Cut([], (0, 1)), Cut([row("c", 8)], (2, 0))]
SHARE = Share(CUTS, pad_token_id=7)


def test_what_a_share_holds() -> None:
    assert (SHARE.ids, SHARE.sources, SHARE.bad) == (["a", "b", "c"], ["of-a", "of-b", "of-c"], [BAD])
    assert (SHARE.num_tokens, SHARE.num_supervised, SHARE.num_bad) == (16, 2 + 1 + 3, 3)


def test_micro_batches_are_those_of_the_order() -> None:
    batches = list(SHARE.micro_batches())
    assert [(batch.ids, batch.place) for batch in batches] == [(["a", "b"], (0, 0)), ([], (0, 1)), (["c"], (2, 0))]
    assert batches[0].inputs["input_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 7, 7]]


def test_packs_hold_the_same_samples() -> None:
    assert SHARE.packs_needed(limit=8) == 2
    packs = list(SHARE.packs(limit=8, count=3, rank=1))
    assert [(batch.ids, batch.place) for batch in packs] == [(["c"], (1, 0)), (["a"], (1, 1)), (["b"], (1, 2))]
    packs = list(SHARE.packs(limit=8, count=2, rank=1))
    assert [(batch.ids, batch.labels.shape[1]) for batch in packs] == [(["c"], 8), (["a", "b"], 8)]
    supervised = Counter(int((batch.labels != IGNORED).sum()) for batch in packs)
    assert supervised == Counter({3: 2})


def test_a_rank_without_samples_packs_the_dummy() -> None:
    empty = Share([Cut([BAD], (0, 0))])
    assert empty.packs_needed(limit=8) == 0
    assert [(batch.ids, batch.labels.tolist()) for batch in empty.packs(8, 2, 0)] == [([], [[IGNORED] * 2])] * 2
