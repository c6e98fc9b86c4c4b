"""Tests of significance against known answers."""

from functools import partial
from math import comb

import numpy as np
import pytest

from cli_ray.evals.results.statistics import Swapped, holm, mcnemar, swap_headlines, swap_sums


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1), (0, 1, 1), (0, 5, 2 / 32), (8, 1, 20 / 512), (5, 5, 1), (2, 10, 2 * (1 + 12 + 66) / 4096)],
)
def test_mcnemar_is_the_binomial_test(wins: int, losses: int, p: float) -> None:
    assert mcnemar(wins, losses).p == pytest.approx(p)
    assert mcnemar(losses, wins).p == pytest.approx(p)


def test_mcnemar_of_many_pairs_is_near_the_normal_curve() -> None:
    # Ratings of a prime minister (Agresti, Categorical Data Analysis): 150 against 86, z = 4.17, p = 3e-5.
    assert mcnemar(150, 86).p == pytest.approx(2 * sum(comb(236, k) for k in range(87)) / 2**236)
    assert 2e-5 < mcnemar(150, 86).p < 6e-5
    assert mcnemar(4_000, 4_150).p == pytest.approx(0.099, abs=0.001)


def test_few_blocks_are_swapped_in_every_way() -> None:
    # |±1 ±2 ±4| reaches 7 in 2 of 8 ways, and 5 in 4 of 8.
    assert swap_sums(np.array([1.0, 2, 4, 0, 0])).p == 2 / 8
    assert swap_sums(np.array([-1.0, 2, 4])).p == 4 / 8
    assert swap_sums(np.zeros(9)).p == 1
    assert swap_sums(np.array([1.0])).method == "permutation, exact"


def test_random_swaps_of_single_items_agree_with_mcnemar() -> None:
    sums = np.array([1.0] * 60 + [-1.0] * 38)
    assert swap_sums(sums).p == pytest.approx(mcnemar(60, 38).p, abs=0.01)
    assert swap_sums(sums) == swap_sums(sums)
    assert swap_sums(np.ones(300)).p == 1 / 10_001


@pytest.mark.parametrize("items", [9, 40])
def test_p_is_uniform_without_a_difference(items: int) -> None:
    """Both where all swaps are gone through and where some are drawn."""
    rng = np.random.default_rng(0)
    ps = np.array([swap_sums(rng.integers(-2, 3, items).astype(np.float64)).p for _ in range(200)])
    for level in (0.05, 0.25, 0.5):
        assert level / 4 < (ps <= level).mean() < level + 3 * np.sqrt(level * (1 - level) / 200)


def by_sum(sums: np.ndarray[tuple[int], np.dtype[np.float64]], swapped: Swapped) -> float:
    """The statistic of `swap_sums`, as a headline."""
    return float(((1 - 2 * swapped) * sums).sum())


def test_swapped_headlines_agree_with_swapped_sums() -> None:
    few, many = np.array([1.0, 2, 4]), np.random.default_rng(1).normal(0.15, 1, 80)
    assert swap_headlines(lambda swapped: by_sum(few, swapped), 3, 10_000).p == 2 / 8
    for sums in (many, many + 0.3):
        found = swap_headlines(partial(by_sum, sums), 80, 1)
        assert found.p == pytest.approx(swap_sums(sums).p, abs=0.001)
        assert found.method == "permutation, 10,000 swaps"


def test_headlines_that_are_no_sums_are_computed_again_for_each_swap() -> None:
    few, many = np.array([1.0, 2, 4]), np.random.default_rng(1).normal(0.15, 1, 80)
    assert swap_headlines(lambda swapped: by_sum(few, swapped) ** 3, 3, 10_000).p == 2 / 8
    full = swap_headlines(lambda swapped: by_sum(many + 0.3, swapped) ** 3, 80, 10_000)
    assert full.method == "permutation, 10,000 swaps"
    assert full.p == pytest.approx(swap_sums(many + 0.3).p, abs=0.003)
    early = swap_headlines(lambda swapped: by_sum(many - 0.1, swapped) ** 3, 80, 10_000)
    assert early.p == pytest.approx(swap_sums(many - 0.1).p, rel=0.3)
    assert early.method != full.method


def test_rounding_breaks_no_ties() -> None:
    """Blocks of 1/3 of a point tie as blocks of 1 do."""
    sums = np.array([1.0] * 60 + [-1.0] * 38)
    for share in (1 / 3, 100 / 1_082, 1e4 / 7):
        assert swap_sums(sums * share) == swap_sums(sums)
        assert swap_sums(sums[:13] * share).p == 2 / 2**13


def test_swaps_without_a_headline_count_as_extreme() -> None:
    assert swap_headlines(lambda swapped: 1.0 if not swapped.any() else None, 4, 100).p == 1


def test_holm_on_published_examples() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
