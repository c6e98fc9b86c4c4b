"""Levelling: every bin full, and all of one cost as far as things allow."""

from hypothesis import given
from hypothesis import strategies as st

from cli_ray.data.levelling import excess, level


@given(st.data(), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_each_thing_once_and_every_bin_full(data: st.DataObject, rooms: list[int]) -> None:
    costs = data.draw(st.lists(st.integers(0, 10**12), min_size=sum(rooms), max_size=sum(rooms)))
    ranks = data.draw(st.permutations(range(len(rooms))))
    dealt = level(costs, rooms, ranks)
    assert list(map(len, dealt)) == rooms
    assert sorted(i for things in dealt for i in things) == list(range(len(costs)))


def test_what_can_be_even_is_even() -> None:
    dealt = level([9, 8, 7, 3, 2, 1], [2, 2, 2], [0, 1, 2])
    assert dealt == [[0, 5], [1, 4], [2, 3]]


def test_a_bin_pays_for_its_room() -> None:
    costs = [10, 10, 10, 10, 10, 10, 40, 2, 4, 2, 1, 1]
    dealt = level(costs, [8, 4], [0, 1])
    of_bins = [sum(costs[i] for i in things) for things in dealt]
    assert abs(of_bins[0] - 2 * sum(costs) / 3) < 3


def test_exchanges_mend_what_the_last_things_spoil() -> None:
    """The costliest first alone gives 9 + 7 + 7 and 9 + 7 + 3."""
    costs = [9, 9, 7, 7, 7, 3]
    assert [sum(costs[i] for i in things) for things in level(costs, [3, 3], [0, 1])] == [21, 21]


def test_excess_is_what_a_bin_costs_above_its_share() -> None:
    assert excess([[0], [1, 2]], [5, 1, 3], [1, 2]) == [3 * 5 - 9, 3 * 4 - 2 * 9]


def test_equal_things_go_by_rank() -> None:
    assert level([5, 5, 5], [1, 1, 1], [2, 0, 1]) == [[2], [0], [1]]
    assert level([0, 0, 0], [1, 2, 0], [0, 1, 2]) == [[0], [1, 2], []]
