"""Steps: every sample once, each step as large as arithmetic says and as costly as the others."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_ray.data.cost import SampleCost
from cli_ray.data.order import Order
from cli_ray.data.sample import IGNORED, BadSample, Encoded, Row
from cli_ray.data.steps import Grouped, Levelled, Rows, Steps

COST = SampleCost(tile=9_000, token=1_000, pair=1, supervised=100)
TOKENS = SampleCost()


def flat(lists: Iterable[list[Row]]) -> list[Row]:
    return [one for some in lists for one in some]


def row(name: str, tokens: int, tiles: int = 0) -> Encoded:
    """A sample, the second half of whose tokens is supervised."""
    labels = np.zeros(tokens, np.int32)
    labels[: tokens // 2] = IGNORED
    images = [np.zeros((tiles, 3, 1, 1), np.uint8)] * bool(tiles)
    return Encoded(name, "s", labels, labels, images, np.zeros((0, 2), np.int32), labels)


def bad(name: str) -> BadSample:
    return BadSample(name, "s", "", "too long", "")


def order(samples: int, lanes: int, window: int, micro_batch: int, per_step: int, seed: int = 0) -> Order:
    """One unit of so many samples."""
    return Order(np.array([samples]), np.array([0]), [1.0], seed, lanes, window, micro_batch, per_step)


def mixed(lane: int, count: int, seed: int) -> list[Row]:
    """Texts, images and holes of many lengths."""
    draw = np.random.default_rng((seed, lane))
    lengths, kinds = draw.lognormal(4, 0.9, count).astype(int) + 2, draw.random(count)
    return [
        bad(f"{lane}-{i}") if kind < 0.05 else row(f"{lane}-{i}", int(length), int(kind > 0.2))
        for i, (length, kind) in enumerate(zip(lengths, kinds, strict=True))
    ]


def epoch(steps: Steps, rows: list[list[Row]]) -> list[list[list[Rows]]]:
    """The micro-batches of each lane in each step, of the rows of each lane."""
    order = steps.order
    found = []
    for lane, of_lane in enumerate(rows):
        dealt: dict[int, list[Rows]] = {}
        for window in range(order.windows()):
            part = of_lane[window * order.window : (window + 1) * order.window]
            for step, some in steps.deal(part, 0, lane, window).items():
                dealt.setdefault(step, []).extend(some)
        found.append([steps.micro_batches(dealt.get(step, [])) for step in range(order.steps_per_epoch)])
    return [list(step) for step in zip(*found, strict=True)]


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Windows that divide into steps and such that do not, steps of several windows, lanes of any end."""
    micro = draw(st.integers(1, 6))
    window, per_step = micro * draw(st.integers(1, 9)), draw(st.integers(1, 7))
    return order(draw(st.integers(1, 150)), draw(st.integers(1, 4)), window, micro, per_step, draw(st.integers(0, 99)))


@pytest.mark.parametrize("kind", [Levelled, Grouped])
@given(order=orders(), seed=st.integers(0, 99))
@settings(deadline=None)
def test_each_sample_once_in_steps_of_the_size_that_arithmetic_says(kind: type[Steps], order: Order, seed: int) -> None:
    steps = Levelled(order, COST) if kind is Levelled else Grouped(order)
    rows = [mixed(lane, order.lane_length(lane), seed) for lane in range(order.lanes)]
    found = epoch(steps, rows)
    seen = Counter(one.id for step in found for lane in step for batch in lane for one in batch)
    assert seen == Counter(one.id for lane in rows for one in lane)
    assert [sum(len(batch) for lane in step for batch in lane) for step in found] == steps.sizes(0).tolist()
    assert all(len(lane) <= order.per_step for step in found for lane in step)
    assert all(len(batch) <= order.micro_batch for step in found for lane in step for batch in lane)


@given(order=orders(), seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_lane_gives_every_step_its_fixed_number(order: Order, seed: int) -> None:
    """All but the last step of a lane are full, and so are all their micro-batches."""
    rows = [mixed(lane, order.lane_length(lane), seed) for lane in range(order.lanes)]
    for number, step in enumerate(epoch(Levelled(order, COST), rows)):
        for lane, batches in enumerate(step):
            left = order.lane_length(lane) - number * order.per_lane
            assert sum(map(len, batches)) == min(max(left, 0), order.per_lane)
            assert len(batches) == math.ceil(min(max(left, 0), order.per_lane) / order.micro_batch)


def spread(steps: Steps, rows: list[Row]) -> float:
    """Costliest full step of a lane over the mean."""
    whole = len(rows) // steps.order.per_lane
    costs = [sum(map(TOKENS, flat(step[0]))) for step in epoch(steps, [rows])[:whole]]
    return max(costs) / (sum(costs) / whole)


@pytest.mark.parametrize(
    ("window", "micro_batch", "per_step", "most"),
    [(256, 4, 4, 1.02), (256, 16, 1, 1.02), (256, 2, 12, 1.02), (250, 5, 4, 1.02), (48, 4, 5, 1.05)],
    ids=["16 steps", "one micro-batch a step", "10.7 steps", "12.5 steps", "2.4 steps"],
)
def test_steps_cost_the_same(window: int, micro_batch: int, per_step: int, most: float) -> None:
    """Also where a window does not divide into steps, or a step takes several windows. All windows here are alike."""
    one = order(1920, 1, window, micro_batch, per_step)
    rows = (mixed(0, window, 5) * math.ceil(1920 / window))[: 1920 // window * window]
    assert spread(Levelled(one, TOKENS), rows) < most
    assert spread(Levelled(one, TOKENS), rows) < spread(Grouped(one), rows)


def test_every_lane_begins_a_step_with_its_costliest_micro_batch() -> None:
    one = order(512, 2, 128, 4, 4)
    for step in epoch(Levelled(one, COST), [mixed(lane, 256, 1) for lane in range(2)]):
        for lane in step:
            costs = [sum(map(COST, batch)) for batch in lane]
            assert costs == sorted(costs, reverse=True)


def test_micro_batches_hold_like_lengths() -> None:
    """Little is padded: hardly more than where micro-batches are cut from a whole window alone."""
    texts = np.random.default_rng(3).lognormal(4, 0.9, 512).astype(int)
    rows: list[list[Row]] = [[row(str(i), 600 + int(text), 1) for i, text in enumerate(texts)]] * 2

    def padded(steps: Steps) -> float:
        found = epoch(steps, rows)
        lengths = [
            [len(one.input_ids) for one in batch if isinstance(one, Encoded)]
            for step in found
            for lane in step
            for batch in lane
        ]
        full = sum(len(some) * max(some) for some in lengths if some)
        return 1 - sum(map(sum, lengths)) / full

    one = order(1024, 2, 256, 4, 4)
    assert padded(Levelled(one, TOKENS)) < padded(Grouped(one)) + 0.05


def test_a_rank_with_holes_or_text_alone_takes_its_part_of_every_step() -> None:
    one = order(96, 3, 32, 4, 2)
    holes: list[Row] = [bad(f"bad-{i}") for i in range(32)]
    texts: list[Row] = [row(f"text-{i}", 3 + i) for i in range(32)]
    found = epoch(Levelled(one, COST), [holes, texts, mixed(2, 32, 0)])
    assert [[sum(map(len, lane)) for lane in step] for step in found] == [[8, 8, 8]] * 4
    text_costs = [sum(map(COST, flat(step[1]))) for step in found]
    assert max(text_costs) < 1.1 * min(text_costs)


def test_a_sample_is_as_likely_in_one_step_as_in_another() -> None:
    """Over the seeds the longest, the shortest and a middling sample stand in each of the four steps alike."""
    rows = sorted(mixed(0, 64, 2), key=COST)
    counts = {name: Counter[int]() for name in (rows[0].id, rows[32].id, rows[-1].id)}
    for seed in range(400):
        dealt = Levelled(order(64, 1, 64, 4, 4, seed), COST).deal(rows, 0, 0, 0)
        for step, groups in dealt.items():
            for one in flat(groups):
                if one.id in counts:
                    counts[one.id][step] += 1
    # 100 each are expected; a standard deviation is 8.7.
    assert all(65 < count[step] < 135 for count in counts.values() for step in range(4)), counts


def test_cost_is_the_polynomial() -> None:
    sample = row("a", 10, tiles=3)
    assert COST(sample) == 3 * 9_000 + 10 * 1_000 + 10 * 10 + 5 * 100
    assert COST(replace(sample, images=[])) == COST(sample) - 27_000
    assert COST(bad("b")) == 0
    assert SampleCost.of_state(COST.state() | {"seed": 3}) == COST
    assert SampleCost.of_state({"seed": 3}) is None
