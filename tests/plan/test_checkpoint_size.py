"""The planned size of a checkpoint is that of the files that a run writes."""

import io

import pytest
import torch

from cli_ray.config import RunConfig
from cli_ray.plan.estimate import Device, Estimate, resolved
from cli_ray.plan.lengths import assumed
from cli_ray.plan.source import shape_named
from cli_ray.train.checkpoint.write import take_snapshot
from tests.train.ranks import on_ranks
from tests.train.scenario import Case, ScenarioRun, config_of

CASES = [
    Case(zero_stage=stage, precision=precision)
    for stage, precision in ((0, "fp32"), (1, "bf16"), (2, "bf16"), (2, "fp32"), (3, "bf16"), (3, "fp32"))
]


def written(cases: list[Case]) -> list[int]:
    """In a process of its own: bytes that each would write after a step."""
    sizes = []
    for case in cases:
        run, size = ScenarioRun(case), 0
        run.step(0)
        for state in take_snapshot(run.engine.deepspeed).values():
            buffer = io.BytesIO()
            torch.save(state, buffer)
            size += buffer.tell()
        sizes.append(size)
    return sizes


def planned(config: RunConfig) -> int:
    shape = shape_named(config.model)
    device = Device("none", 1, 0.0)
    return Estimate(config, shape, resolved(config, shape), device, 1, assumed(config, shape, 8), 0.3).checkpoint_size


@pytest.mark.slow
def test_a_checkpoint_has_the_planned_size_at_every_stage() -> None:
    [sizes] = on_ranks(1, written, CASES)
    assert [planned(config_of(case)) for case in CASES] == pytest.approx(sizes, rel=0.05)
