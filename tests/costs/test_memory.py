"""Planned memory against that of a real optimiser step; `tests/perf/memory.py` measures more cases."""

import pytest

from tests.perf.memory import measured
from tests.train.ranks import on_ranks


@pytest.mark.slow
def test_a_rank_takes_what_was_planned() -> None:
    """Tensors between two steps, what waits for the backward pass, and the most that is resident."""
    [result] = on_ranks(1, measured, "llava-checkpointing")
    for kind, tolerance in {"lasting": 0.01, "saved": 0.1, "peak": 0.1}.items():
        planned, real = result[kind]
        assert planned == pytest.approx(real, rel=tolerance), kind
