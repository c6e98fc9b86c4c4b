"""The rates of a run over its steps, and whether it may be longer than it was begun.

Called by `loop` at each step, and by the run folder for a config of another length.
"""

import math

from cli_ray.config import OptimConfig, RunConfig
from cli_ray.data.index import Index, order_of
from cli_ray.train.checkpoint.files import total_steps


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


def may_be_longer(begun: RunConfig, config: RunConfig, index: Index) -> bool:
    """Whether a run may go on to the length of another config: its own steps would have had the same rates.

    Args:
        begun: as the run was begun.
        config: with other `train.epochs` or `train.max_steps`.
        index: of the run's sources.
    """
    order = order_of(
        index,
        begun.data,
        seed=begun.seed,
        lanes=begun.lanes,
        micro_batch_size=begun.train.micro_batch_size,
        global_batch_size=begun.train.global_batch_size,
    )
    before, after = (
        total_steps(order.steps_per_epoch, run.train.epochs, run.train.max_steps) for run in (begun, config)
    )
    rates = (lr_factor(step, before, begun.optim) == lr_factor(step, after, begun.optim) for step in range(before))
    return before <= after and all(rates)
