"""Resampling: whole blocks, equal seeds, and intervals that cover what they should."""

from typing import Any

import numpy as np
import pytest

from cli_ray.evals.results.statistics import (
    Resampler,
    blocks,
    clustered_error,
    draws,
    interval,
    resampled,
    resampled_mean,
    scores,
)
from cli_ray.evals.suite import BENCHMARKS
from tests.evals.results.outputs import all_right, sample, samples


def test_copies_have_units_of_their_own() -> None:
    found = samples([1, 1, 0, 1], per_cluster=2, per_unit=2)
    drawn = Resampler(found, blocks(found)).drawn(np.array([3, 0]))
    assert [one.score for one in drawn] == [1] * 6
    assert len({one.id for one in drawn}) == 6
    assert sorted([one.unit for one in drawn].count(unit) for unit in {one.unit for one in drawn}) == [2, 2, 2]
    assert drawn[:2] == found[:2]


def test_units_are_never_torn() -> None:
    rng = np.random.default_rng(0)
    found = samples(rng.integers(0, 2, 60).astype(float).tolist(), per_cluster=1, per_unit=3)
    values = resampled(lambda drawn: all_right(drawn)["all right"], [found], blocks(found))  # asserts whole units
    assert values.shape == (1000, 1)
    again = resampled(lambda drawn: all_right(drawn)["all right"], [found], blocks(found))
    assert (values == again).all()


def test_both_ways_of_resampling_agree_with_the_formula() -> None:
    rng = np.random.default_rng(2)
    level = rng.random(150).repeat(4)
    found = samples((rng.random(600) < level).astype(float).tolist(), per_cluster=4)
    labels, values = blocks(found), scores(found)
    expected = clustered_error(values, labels)
    through = resampled(lambda drawn: float(scores(drawn).mean()), [found], labels)
    assert through.std() == pytest.approx(expected, rel=0.1)
    assert resampled_mean(values, labels).std() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("name", "docs"),
    [
        ("mme", [{"category": "OCR", "question_id": i} for i in "aabb"]),
        ("mmvp", [{"Index": i} for i in (1, 2, 3, 4)]),
        ("mmbench-en-dev", [{"index": i, "category": "c", "L2-category": "l"} for i in (1, 1000001, 2, 1000002)]),
        (
            "hallusionbench",
            [
                {"category": "VS", "subcategory": "map", "set_id": i, "figure_id": "0", "question_id": k}
                for i, k in ("00", "01", "10", "11")
            ],
        ),
    ],
)
def test_a_unit_that_is_drawn_twice_counts_twice(name: str, docs: list[dict[str, Any]]) -> None:
    """For benchmarks whose items are scored in units: one right unit drawn twice, one wrong unit once."""
    one = BENCHMARKS[name]
    assert one.unit is not None
    found = [
        sample(i, float(i < 2), unit=one.unit(doc), cluster=one.unit(doc), facets={key: doc[key] for key in one.facets})
        for i, doc in enumerate(docs)
    ]
    blocks_drawn = Resampler(found, blocks(found)).drawn(np.array([2, 1]))
    right = one.aggregate(found[:2])[one.headline]
    assert one.aggregate(blocks_drawn)[one.headline] == pytest.approx(right * 2 / 3)


def test_undefined_draws_are_left_out() -> None:
    found = samples([1, 0, 0])
    values = resampled(lambda drawn: max(scores(drawn)) or None, [found], blocks(found))
    assert 0 < len(values) < draws(3)
    assert (values == 1).all()
    assert resampled(lambda drawn: None, [found, found], blocks(found)).shape == (0, 2)


def test_intervals_cover_the_truth_of_clustered_data() -> None:
    """The truth is inside about 95 of 100 intervals; taking clustered items for independent ones misses far more."""
    rng = np.random.default_rng(3)
    labels, alone = np.arange(80).repeat(5), np.arange(400)
    covered = {"clustered": 0, "alone": 0}
    for _ in range(300):
        level = rng.choice([0.05, 0.95], 80).repeat(5)
        values = (rng.random(400) < level).astype(float)
        for name, grouping in (("clustered", labels), ("alone", alone)):
            low, high = interval(resampled_mean(values, grouping, times=500))
            covered[name] += low <= 0.5 <= high
    assert 0.91 * 300 <= covered["clustered"] <= 0.985 * 300
    assert covered["alone"] < 0.75 * 300


def test_large_sets_take_fewer_draws() -> None:
    assert [draws(n) for n in (0, 60, 1_500, 3_000, 9_000, 214_354)] == [1000, 1000, 1000, 500, 300, 300]
