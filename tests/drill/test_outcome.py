import math

import pytest

from cli_ray.drill.outcome import Losses, difference

LOSSES = [(1, 5.0), (2, 4.0), (3, 3.5)]


def test_equal_runs_do_not_differ() -> None:
    found = difference(LOSSES, list(LOSSES))
    assert found.none
    assert (found.largest, found.step) == (0.0, None)


@pytest.mark.parametrize(
    ("disturbed", "largest", "step"),
    [
        ([(1, 5.0), (2, 4.25), (3, 3.375)], 0.25, 2),
        ([(1, 5.0), (2, 4.0), (3, math.nextafter(3.5, 4))], math.nextafter(3.5, 4) - 3.5, 3),
        ([(1, 5.0), (2, None), (3, 3.0)], math.inf, 2),
    ],
)
def test_the_largest_difference_is_found_to_the_last_bit(disturbed: Losses, largest: float, step: int) -> None:
    found = difference(LOSSES, disturbed)
    assert (found.largest, found.step, found.none) == (largest, step, False)


def test_losses_that_are_no_number_on_both_sides_are_equal() -> None:
    assert difference([(1, None)], [(1, None)]).none


def test_steps_that_are_missing_or_came_twice_are_named() -> None:
    found = difference(LOSSES, [(1, 5.0), (1, 5.0), (3, 3.5), (4, 3.0)])
    assert (found.largest, found.missing, found.surplus, found.none) == (0.0, (2,), (1, 4), False)
