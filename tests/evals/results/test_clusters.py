"""Blocks of samples and the clustered standard error, against hand computations."""

from math import sqrt

import numpy as np
import pytest

from cli_ray.evals.results.statistics import blocks, clustered_error
from tests.evals.results.outputs import sample, samples


def test_samples_of_one_image_are_a_block() -> None:
    assert blocks(samples([1] * 6, per_cluster=2)).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_unit_joins_the_clusters_it_lies_in() -> None:
    found = [
        sample(0, 1, cluster="a", unit="u"),
        sample(1, 1, cluster="b", unit="v"),
        sample(2, 1, cluster="c", unit="u"),
        sample(3, 1, cluster="c", unit="w"),
        sample(4, 1, cluster="v", unit="x"),  # a cluster that is called as a unit is
    ]
    assert blocks(found).tolist() == [0, 1, 0, 0, 2]


def test_samples_without_names_stand_alone() -> None:
    assert blocks([sample(i, 1, cluster="", unit="") for i in range(3)]).tolist() == [0, 1, 2]


def test_the_error_of_two_clusters_by_hand() -> None:
    # Mean 3/4; deviations sum to -1/2 and 1/2; sqrt(2/1 * (1/4 + 1/4)) / 4 = 1/4.
    assert clustered_error(np.array([1.0, 0, 1, 1]), np.array([0, 0, 1, 1])) == pytest.approx(0.25)


def test_the_error_is_the_simple_one_where_clusters_have_one_item() -> None:
    values = np.random.default_rng(1).random(50)
    assert clustered_error(values, np.arange(50)) == pytest.approx(values.std(ddof=1) / sqrt(50))


def test_copies_of_an_item_in_a_cluster_add_no_certainty() -> None:
    values = np.random.default_rng(1).random(50)
    copied = clustered_error(np.repeat(values, 7), np.repeat(np.arange(50), 7))
    assert copied == pytest.approx(clustered_error(values, np.arange(50)))


@pytest.mark.parametrize("count", [0, 1, 9])
def test_one_cluster_has_no_error(count: int) -> None:
    assert clustered_error(np.ones(count), np.zeros(count, np.int64)) is None
