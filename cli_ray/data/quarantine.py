"""The record of samples that were left out, and when they are too many."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cli_ray.data.sample import BadSample
from cli_ray.errors import RunFailedError

MIN_SEEN = 100
"""Samples seen before the share of bad ones says anything; a whole epoch does earlier."""


class TooManyBadSamplesError(RunFailedError):
    """More of the data is bad than `data.max_bad_share` allows."""


@dataclass
class Quarantine:
    """Bad samples of one rank: one line each, and counts by reason.

    Args:
        append: writes one line (JSON) to the quarantine file.
        path: of that file, for messages.
        max_bad_share: of the samples seen.
    """

    append: Callable[[str], None]
    path: str
    max_bad_share: float
    seen: int = 0
    """Samples that came, bad ones included."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Bad samples by reason."""
    example: BadSample | None = None
    """The first one."""

    @property
    def num_bad(self) -> int:
        """Bad samples that came."""
        return self.reasons.total()

    def add(self, num_good: int, bad: Iterable[BadSample]) -> None:
        """Records what came with some micro-batches."""
        self.seen += num_good
        for sample in bad:
            self.seen += 1
            self.reasons[sample.reason] += 1
            self.example = self.example or sample
            self.append(json.dumps(sample.to_dict(), ensure_ascii=False))

    def check(self, end_of_epoch: bool = False) -> None:
        """Compares the share of bad samples with the limit.

        Raises:
            TooManyBadSamplesError: it is above, and enough was seen to say so.
        """
        if (self.seen < MIN_SEEN and not end_of_epoch) or self.num_bad <= self.max_bad_share * self.seen:
            return
        assert self.example is not None
        one = self.example
        counts = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        raise TooManyBadSamplesError(
            f"{self.num_bad} of {self.seen} samples are bad ({self.num_bad / self.seen:.1%}), data.max_bad_share "
            f"allows {self.max_bad_share:.1%}. By reason: {counts}. For example {one.id} of {one.source} "
            f"({one.where}): {one.reason}: {one.detail}. All of them are in {self.path}. Mend the data "
            "(cli-ray data check lists what is wrong), or raise data.max_bad_share"
        )
