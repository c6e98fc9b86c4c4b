"""What a kill came to: the disturbed run beside the undisturbed one. Made by the drill, printed by its command."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cli_ray.drill.plan import Kill

Losses = Sequence[tuple[int, float | None]]
"""Step and loss of each logged step; None where the loss was no finite number."""


@dataclass(frozen=True)
class Difference:
    """The difference between the losses of two runs."""

    largest: float
    """0.0 when all are equal to the last bit; infinite when only one side is a finite number."""
    step: int | None
    """Where the largest difference is; None when all are equal."""
    missing: tuple[int, ...]
    """Steps that the disturbed run did not log."""
    surplus: tuple[int, ...]
    """Steps that the disturbed run logged twice, or that the undisturbed one never did."""

    @property
    def none(self) -> bool:
        """Whether both are the same run, step by step and bit by bit."""
        return not self.largest and not self.missing and not self.surplus


@dataclass(frozen=True)
class SampleCounts:
    """What the ledger of a run says of its samples, up to its newest checkpoint."""

    twice: int
    """Times that a sample came where it was not due."""
    missing: int
    """Samples that were due and did not come, and files of the ledger that cannot be read."""


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
    samples: SampleCounts | None
    """None when there is no ledger, as with log.ids = false or before the first checkpoint."""
    exit_code: int | None
    """Of the last command; None when it hung and was ended."""
    fault: str
    """What was wrong with the run, with the end of its output; empty when it ended well."""

    @property
    def sound(self) -> bool:
        """Whether the run ended as if nothing had happened."""
        return self.exit_code == 0 and self.difference.none and self.samples in (None, SampleCounts(0, 0))


def difference(undisturbed: Losses, disturbed: Losses) -> Difference:
    """Compares the losses of two runs step by step."""
    expected, actual = dict(undisturbed), dict(disturbed)
    gaps = {step: _gap(expected[step], actual[step]) for step in expected if step in actual}
    worst = max(gaps, key=lambda step: gaps[step], default=None)
    largest = gaps[worst] if worst is not None else 0.0
    counts = Counter(step for step, _ in disturbed)
    return Difference(
        largest,
        worst if largest else None,
        tuple(step for step in expected if step not in actual),
        tuple(step for step, count in counts.items() if count > 1 or step not in expected),
    )


def _gap(expected: float | None, actual: float | None) -> float:
    if expected is None or actual is None:
        return 0.0 if expected is actual else math.inf
    return abs(expected - actual)
