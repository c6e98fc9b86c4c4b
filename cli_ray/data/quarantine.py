"""The samples that were left out, a line each, and when they are too many.

A callback of the training holds a `Quarantine` on every rank; `refuse_lost` stops a training before its start.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cli_ray.config import DataConfig
from cli_ray.data.index import Index, samples_per_epoch
from cli_ray.data.sample import BadSample, clean
from cli_ray.errors import RunFailedError, UserError
from cli_ray.storage.lines import json_lines

_SHOWN = 10
"""Damaged shards that an error lists."""


class TooManyBadSamplesError(RunFailedError):
    """More of the data is bad than `data.max_bad_share` allows."""


def allowed(samples: float, max_bad_share: float) -> int:
    """How many of so many samples may be bad.

    The limit is held against all samples of an epoch, not against those read so far: what has been read is a sample of
    few units, in which bad neighbours come together, so a run within the limit would stop by its seed.
    """
    return math.floor(samples * max_bad_share + 1e-6)  # 0.29 * 100 is a little below 29


@dataclass
class Quarantine:
    """Bad samples: one line each, and counts by reason. One that comes again is written and counted once.

    Args:
        append: writes one line (JSON) to the quarantine file.
        path: of the files, for messages.
    """

    append: Callable[[str], None]
    path: str
    reasons: Counter[str] = field(default_factory=Counter)
    """Bad samples by reason."""
    example: BadSample | None = None
    """The first one."""
    written: set[str] = field(default_factory=set)
    """The lines that are there."""

    def add(self, bad: Iterable[BadSample]) -> None:
        """Records what came with some micro-batches."""
        for sample in bad:
            line = json.dumps(sample.to_dict(), ensure_ascii=False)
            if line not in self.written:
                self.written.add(line)
                self._count(sample)
                self.append(line)

    def resume(self, lines: Iterable[str], counted: bool) -> None:
        """Takes over lines of earlier starts.

        Args:
            lines: of all ranks.
            counted: whether they count here, which they should on one rank.
        """
        lines = list(dict.fromkeys(lines))
        self.written.update(lines)
        for row in json_lines(lines) if counted else ():
            self._count(BadSample(**row))

    def _count(self, sample: BadSample) -> None:
        self.reasons[sample.reason] += sample.samples
        self.example = self.example or sample

    def too_many(self, bad: int, samples: float, epochs: int, max_bad_share: float) -> TooManyBadSamplesError:
        """What to raise when more samples are bad than `allowed`.

        Args:
            bad: samples of the run so far.
            samples: of an epoch.
            epochs: begun.
            max_bad_share: of the config.
        """
        counts = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common())
        example = ""
        if first := self.example:
            example = f" For example {first.id} of {first.source} ({first.where}): {first.reason}: {first.detail}."
        within = "an epoch" if epochs == 1 else f"{epochs} epochs"
        most = allowed(samples * epochs, max_bad_share)
        return TooManyBadSamplesError(
            f"{bad:,} samples are bad so far, data.max_bad_share = {max_bad_share:.2%} allows {most:,} of the "
            f"{samples * epochs:,.0f} samples of {within}. By reason: {counts}.{example} All are in {self.path}. "
            "Mend the data (cli-ray data check lists what is wrong), or raise data.max_bad_share"
        )


def refuse_lost(index: Index, data: DataConfig) -> None:
    """Compares what the index knows to be lost with the limit, before anything is trained.

    Raises:
        UserError: more samples than allowed lie in damaged shards, or nothing tells how many do.
    """
    if data.max_bad_share == 1:
        return
    weights = [source.weight for source in data.sources]
    units = [(damage, index.unit(number)) for number, damage in index.damages.items()]
    lost = sum(weights[unit.source] * damage.samples for damage, unit in units)
    total = samples_per_epoch(index, data)
    unknown = [(damage, unit) for damage, unit in units if not damage.is_known]
    if lost <= allowed(total, data.max_bad_share) and not unknown:
        return
    lines = [
        f"{clean(unit.path, 1000)}: {damage.reason or 'damaged or cut'}: "
        + (f"about {damage.samples:,} samples" if damage.is_known else "nothing tells how many samples it held")
        for damage, unit in sorted(units, key=lambda pair: (pair[0].is_known, -pair[0].samples))
    ]
    shown = "\n  ".join(lines[:_SHOWN] + ([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []))
    why = "shards were cut or cannot be read" if unknown else f"about {lost:,.0f} of {total:,.0f} samples are lost"
    raise UserError(
        f"{why}, data.max_bad_share = {data.max_bad_share:.2%}:\n  {shown}\n"
        "Fetch them again, leave them out of data.sources, or raise data.max_bad_share (1 takes what there is)"
    )
