"""How far a run has come; what a checkpoint needs beside weights and optimiser states."""

from typing import Self

from pydantic import BaseModel, ConfigDict


class Progress(BaseModel):
    """Counters of a run. (seed, epoch, epoch_step) is the whole position in the stream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """Epoch of the next step."""
    epoch_step: int = 0
    """Steps done in that epoch."""
    samples: int = 0
    """Samples trained on."""
    tokens: int = 0
    """Tokens trained on, image tokens included, padding not."""
    bad_samples: int = 0
    """Samples quarantined."""

    def after_step(self, samples: int, tokens: int, bad_samples: int, steps_per_epoch: int) -> Self:
        """Progress after one more optimiser step."""
        end = self.epoch_step + 1 == steps_per_epoch
        return self.model_copy(
            update={
                "step": self.step + 1,
                "epoch": self.epoch + end,
                "epoch_step": 0 if end else self.epoch_step + 1,
                "samples": self.samples + samples,
                "tokens": self.tokens + tokens,
                "bad_samples": self.bad_samples + bad_samples,
            }
        )


def total_steps(steps_per_epoch: int, epochs: float, max_steps: int | None) -> int:
    """Optimiser steps of a whole run."""
    steps = max(1, round(steps_per_epoch * epochs))
    return steps if max_steps is None else min(steps, max_steps)
