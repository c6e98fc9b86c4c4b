"""The learning rate as a pure function of the step."""

import math

from cli_ray.config import OptimConfig


def lr_factor(step: int, total: int, optim: OptimConfig) -> float:
    """Factor on the peak rates at a step: linear warm-up, then cosine to `min_lr_share`.

    Args:
        step: optimiser steps done before this one, 0..total-1.
        total: steps of the whole run.
    """
    warmup = math.ceil(total * optim.warmup_share)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, total - warmup)
    return optim.min_lr_share + (1 - optim.min_lr_share) * 0.5 * (1 + math.cos(math.pi * share))
