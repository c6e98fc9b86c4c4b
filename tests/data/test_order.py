"""The order is a pure function of (seed, epoch), shows every sample once, and does not know of workers."""

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cli_ray.data.order import Order, permutation

COUNTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=3)


@st.composite
def orders(draw: st.DrawFn, weights: tuple[float, ...] = (1.0,)) -> Order:
    """Orders over up to three sources."""
    counts = draw(COUNTS)
    micro = draw(st.integers(1, 5))
    return Order(
        counts=np.array([count for source in counts for count in source]),
        sources=np.array([s for s, source in enumerate(counts) for _ in source]),
        weights=[draw(st.sampled_from(weights)) for _ in counts],
        seed=draw(st.integers(0, 99)),
        lanes=draw(st.integers(1, 6)),
        window=micro * draw(st.integers(1, 4)),
        micro_batch=micro,
        per_step=draw(st.integers(1, 3)),
    )


def lane_samples(order: Order, epoch: int, lane: int) -> list[tuple[int, int]]:
    """(unit, number within it) of each sample of a lane."""
    return [
        (piece.unit, i)
        for window in range(order.windows())
        for piece in order.pieces(epoch, lane, window)
        for i in range(piece.low, piece.high)
    ]


def epoch_samples(order: Order, epoch: int) -> list[tuple[int, int]]:
    """The samples of all lanes."""
    return [sample for lane in range(order.lanes) for sample in lane_samples(order, epoch, lane)]


@given(order=orders(), epoch=st.integers(0, 3))
def test_every_sample_comes_once(order: Order, epoch: int) -> None:
    expected = [(unit, i) for unit, count in enumerate(order.counts) for i in range(count)]
    assert sorted(epoch_samples(order, epoch)) == expected


@given(order=orders(), epoch=st.integers(0, 3))
def test_lanes_and_windows_have_the_lengths_that_arithmetic_says(order: Order, epoch: int) -> None:
    for lane in range(order.lanes):
        assert len(lane_samples(order, epoch, lane)) == order.lane_length(lane)
        for window in range(order.windows()):
            pieces = order.pieces(epoch, lane, window)
            assert sum(piece.high - piece.low for piece in pieces) == order.window_length(lane, window)
    lengths = [order.lane_length(lane) for lane in range(order.lanes)]
    assert max(lengths) - min(lengths) <= 1
    assert order.steps_per_epoch == math.ceil(max(lengths) / order.micro_batch / order.per_step)


@given(order=orders(weights=(0.25, 0.5, 1.0, 1.5, 2.0, 3.75)), epoch=st.integers(0, 5))
def test_weights_say_how_often_samples_come(order: Order, epoch: int) -> None:
    seen = Counter(epoch_samples(order, epoch))
    assert seen.total() == order.samples_per_epoch
    for source, weight in enumerate(order.weights):
        units = np.flatnonzero(order.sources == source)
        times = [seen[int(unit), i] for unit in units for i in range(order.counts[unit])]
        assert {math.floor(weight), math.ceil(weight)} >= set(times)
        assert abs(sum(times) - weight * len(times)) <= 0.5


def test_a_weight_of_a_half_shows_all_within_two_epochs() -> None:
    order = Order(np.array([3, 2, 4, 1]), np.zeros(4, int), [0.5], 7, 2, 4, 2, 1)
    first, second = epoch_samples(order, 0), epoch_samples(order, 1)
    assert len(first) == len(second) == 5
    assert len({*first, *second}) == 10


def test_seed_and_epoch_change_the_order() -> None:
    def order(seed: int) -> Order:
        return Order(np.full(50, 2), np.zeros(50, int), [1.0], seed, 2, 8, 2, 1)

    assert epoch_samples(order(0), 0) == epoch_samples(order(0), 0)
    assert epoch_samples(order(0), 0) != epoch_samples(order(0), 1)
    assert epoch_samples(order(0), 0) != epoch_samples(order(1), 0)


def test_permutations_stay_what_they_are() -> None:
    """A resumed run depends on these numbers; they must not change with NumPy or with the code."""
    assert permutation(8, 0, 0, 0).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]
    assert permutation(8, 5, 1, 2).tolist() == [0, 3, 4, 2, 6, 1, 5, 7]
