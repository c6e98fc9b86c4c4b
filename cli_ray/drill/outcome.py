"""A disturbed run beside the one that nothing disturbed."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cli_ray.drill.plan import Kill

Losses = Sequence[tuple[int, float | None]]
"""Step and loss of each logged step; None where the loss was no finite number."""


@dataclass(frozen=True)
class Difference:
    """Between the losses of two runs."""

    largest: float
    """0.0 when all are equal to the last bit; infinite when only one side is a finite number."""
    step: int | None
    """Where that is; None when all are equal."""
    missing: tuple[int, ...]
    """Steps that the disturbed run did not log."""
    surplus: tuple[int, ...]
    """Steps that it logged twice, or that the other one never did."""

    @property
    def none(self) -> bool:
        """Whether both are the same run, step by step and bit by bit."""
        return not self.largest and not self.missing and not self.surplus


def difference(undisturbed: Losses, disturbed: Losses) -> Difference:
    """Compares the losses of each step."""
    one, other = dict(undisturbed), dict(disturbed)
    gaps = {step: _gap(one[step], other[step]) for step in one if step in other}
    worst = max(gaps, key=lambda step: gaps[step], default=None)
    largest = gaps[worst] if worst is not None else 0.0
    counts = Counter(step for step, _ in disturbed)
    return Difference(
        largest,
        worst if largest else None,
        tuple(step for step in one if step not in other),
        tuple(step for step, count in counts.items() if count > 1 or step not in one),
    )


def _gap(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other)


@dataclass(frozen=True)
class Samples:
    """What the run's own record says of its samples, up to its newest checkpoint."""

    twice: int
    """Times that a sample came where it was not due."""
    missing: int
    """Samples that were due and did not come, and files of the record that cannot be read."""


@dataclass(frozen=True)
class Outcome:
    """What a kill came to."""

    kill: Kill
    step: int
    """The last step logged before it."""
    redone: int
    """Steps that were trained a second time."""
    recovery_s: float | None
    """From the kill to the next step that had not been logged before; None when there was none."""
    whole_s: float
    """Of the run, from the first command to its end."""
    difference: Difference
    samples: Samples | None
    """None when there is no record, as with log.ids = false or before the first checkpoint."""
    exit_code: int | None
    """Of the last command; None when it hung and was ended."""
    fault: str
    """What was wrong with the run, with the end of its output; empty when it ended well."""

    @property
    def sound(self) -> bool:
        """Whether the run ended as if nothing had happened."""
        return self.exit_code == 0 and self.difference.none and self.samples in (None, Samples(0, 0))
