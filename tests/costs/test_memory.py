"""Planned memory against that of a real optimiser step; `tests/perf/memory.py` measures more cases."""

import pytest

from cli_ray.costs.memory import BUCKET, GATHERED
from tests.perf.memory import measured
from tests.train.ranks import on_ranks


@pytest.mark.slow
def test_a_rank_takes_what_was_planned() -> None:
    """Tensors between two steps, what waits for the backward pass, and the most that is resident."""
    [result] = on_ranks(1, measured, "llava-checkpointing")
    for kind, tolerance in {"lasting": 0.01, "saved": 0.1, "peak": 0.1}.items():
        planned, real = result[kind]
        assert planned == pytest.approx(real, rel=tolerance), kind


@pytest.mark.slow
def test_buffers_are_as_large_as_deepspeed_makes_them() -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    settings = DeepSpeedZeroConfig(stage=3)
    assert (settings.reduce_bucket_size, settings.max_live_parameters) == (BUCKET, GATHERED)
