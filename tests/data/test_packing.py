"""Packs: every sample once, none too long, of like cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_ray.data.packing import level, plan

LIMIT = 100
LENGTHS = st.lists(st.integers(1, LIMIT), max_size=24)


@given(LENGTHS, st.integers(0, 3), st.data())
def test_every_sample_stands_in_one_pack_with_room(lengths: list[int], spare: int, data: st.DataObject) -> None:
    costs = data.draw(st.lists(st.integers(1, 1000), min_size=len(lengths), max_size=len(lengths)))
    count = plan(lengths, LIMIT) + spare
    packs = level(lengths, costs, LIMIT, count)
    assert len(packs) == count
    assert sorted(i for pack in packs for i in pack) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in pack) <= LIMIT for pack in packs)
    totals = [sum(costs[i] for i in pack) for pack in packs]
    assert totals == sorted(totals, reverse=True)
    assert all(pack == sorted(pack) for pack in packs)
    assert packs == level(lengths, costs, LIMIT, count)


@pytest.mark.parametrize(
    ("lengths", "packs"),
    [([], 0), ([100], 1), ([100, 1], 2), ([50, 50], 1), ([40, 40, 60, 60], 2)],
)
def test_as_few_packs_as_first_fit_finds(lengths: list[int], packs: int) -> None:
    assert plan(lengths, LIMIT) == packs


def test_packs_cost_the_same_where_lengths_allow_it() -> None:
    assert level([30, 20, 20, 10], [9, 4, 4, 1], LIMIT, 2) == [[0], [1, 2, 3]]
    assert level([60, 60, 40, 40], [1, 1, 9, 9], LIMIT, 2) == [[0, 2], [1, 3]]


def test_samples_that_fit_only_tightly_are_packed_all_the_same() -> None:
    """By cost alone the two of 40 would come apart, and nothing would have room for the last."""
    lengths, costs = [40, 40, 60, 30, 30], [9, 9, 8, 1, 1]
    packs = level(lengths, costs, LIMIT, plan(lengths, LIMIT))
    assert sorted(sum(lengths[i] for i in pack) for pack in packs) == [100, 100]


def test_exchanges_mend_what_the_costliest_first_spoils() -> None:
    """The costliest first alone gives 5 + 3 and 4 + 3 + 3."""
    packs = level([10] * 5, [5, 4, 3, 3, 3], LIMIT, 2)
    assert packs == [[0, 1], [2, 3, 4]]


def test_a_sample_moves_where_nothing_need_come_back() -> None:
    """The costliest first alone gives 6 + 5 + 5 and 6, for the longest sample leaves no room for that of 40 tokens."""
    packs = level([20, 20, 40, 70], [6, 5, 5, 6], LIMIT, 2)
    assert sorted(packs) == [[0, 2], [1, 3]]
