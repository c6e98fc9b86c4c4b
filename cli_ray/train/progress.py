"""How far a run has come."""

from typing import Self

from pydantic import BaseModel, ConfigDict


class Progress(BaseModel):
    """Counters of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = 0
    """Optimiser steps done."""
    samples: int = 0
    """Samples trained on."""
    tokens: int = 0
    """Tokens trained on, image tokens included, padding not."""
    bad_samples: int = 0
    """Samples quarantined."""

    def after_step(self, samples: int, tokens: int, bad_samples: int) -> Self:
        """Progress after one more optimiser step."""
        return self.model_copy(
            update={
                "step": self.step + 1,
                "samples": self.samples + samples,
                "tokens": self.tokens + tokens,
                "bad_samples": self.bad_samples + bad_samples,
            }
        )


def total_steps(steps_per_epoch: int, epochs: float, max_steps: int | None) -> int:
    """Optimiser steps of a whole run."""
    steps = max(1, round(steps_per_epoch * epochs))
    return steps if max_steps is None else min(steps, max_steps)
