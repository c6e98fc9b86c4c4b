"""Time in collectives: the rank that is slow waits for nobody, the others wait for it."""

import time
from typing import Any

import torch
from torch import nn

from cli_ray.train.rank_table import RankTable, Timing
from tests.train.scenario import STEPS, Case, ScenarioRun

SLOW = 1


def waits(zero_stage: int) -> list[list[float]]:
    """Compute and waiting of both ranks, in ms, of steps in which rank 1 has to do more in each forward pass."""
    run = ScenarioRun(Case(zero_stage=zero_stage, micro_batch=2))
    if torch.distributed.get_rank() == SLOW:
        run.engine.deepspeed.module.model.language_model.norm.register_forward_hook(work)
    return [step(run, number) for number in range(STEPS)]


def work(module: nn.Module, arguments: Any, output: torch.Tensor) -> None:
    a = torch.ones(640, 640)
    for _ in range(20):
        a @ a


def step(run: ScenarioRun, number: int) -> list[float]:
    share = run.share(number)
    run.engine.clock.reset()
    start = time.perf_counter()
    result = run.engine.train_step(share, number, factor=1.0)
    timing = Timing(0.0, (time.perf_counter() - start) * 1e3, run.engine.clock.read_ms())
    table = RankTable.gather(run.engine, share, result.forwards, timing)
    return [*table.column("compute_ms").tolist(), *table.column("rank_wait_ms").tolist()]
