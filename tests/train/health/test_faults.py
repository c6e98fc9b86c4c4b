"""What is tried again and what is not."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ray.exceptions import WorkerCrashedError

from cli_ray.errors import RunFailedError, UserError
from cli_ray.train.engine import ForwardResult, StepResult
from cli_ray.train.health.faults import record, refuse_non_finite, verdict
from cli_ray.train.run_folder import RunFolder
from tests.train.ranks import on_ranks


def ids(count: int = 2) -> list[str]:
    return [f"image-{i}" for i in range(count)]


def test_the_same_fault_twice_at_a_step_is_final(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    shape = RuntimeError("shape '[2, 3]' is invalid")
    record(folder, "launch", 4, 1, ids(), shape)
    assert verdict(folder, "launch") is None
    record(folder, "launch", 5, 1, ids(), shape)
    assert verdict(folder, "launch") is None
    record(folder, "launch", 4, 0, ids(30), shape)
    told = verdict(folder, "launch")
    assert told is not None
    assert "step 5 failed on rank" in told
    assert "2 times in the same way: RuntimeError: shape '[2, 3]' is invalid" in told
    assert "image-0, image-1" in told
    assert verdict(folder, "another launch") is None


def test_memory_that_ran_out_names_the_fields(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    for _ in range(2):
        record(folder, "launch", None, 0, [], torch.OutOfMemoryError("tried to allocate 2 GiB"))
    assert str(verdict(folder, "launch")).startswith("the start failed on rank 0, 2 times in the same way: OutOf")
    assert "Lower train.pack_tokens (without packing train.micro_batch_size) or data.max_length" in str(
        verdict(folder, "launch")
    )


def test_what_the_user_must_mend_needs_no_second_try(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    record(folder, "launch", 7, 0, [], UserError("a.tar: it changed: start a new run"))
    assert "step 8 failed on rank 0: UserError: a.tar: it changed" in str(verdict(folder, "launch"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        WorkerCrashedError(),
        dist.DistNetworkError("the store is gone"),
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_go_better_next_time_is_not_held_against_the_run(tmp_path: Path, error: BaseException) -> None:
    folder = RunFolder(str(tmp_path))
    for _ in range(3):
        record(folder, "launch", 1, 0, ids(), error)
    assert verdict(folder, "launch", repeats=1) is None


def non_finite(norm: float) -> str:
    """What rank 1 says of a step whose second sample has no finite loss there."""
    nll_S = torch.tensor([1.0, 2.0, float("nan") if dist.get_rank() else 3.0])
    forward = ForwardResult(nll_S, torch.tensor([0, 0, 1]), None, ids(), [], positions=5)
    result = StepResult([forward], norm, samples=2, tokens=3, bad_samples=0, shrunk_images=0, votes=[])
    try:
        refuse_non_finite(result, step=9)
    except RunFailedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("norm", [float("inf"), float("nan"), -1.0])
def test_a_gradient_that_is_not_finite_stops_all_ranks_alike(norm: float) -> None:
    first, second = on_ranks(2, non_finite, norm)
    assert first == second
    assert first.startswith(
        "the gradient of step 9 is not finite (train.stop_on_nan). Samples whose loss is not: image-1."
    )


def test_a_finite_gradient_goes_on() -> None:
    assert on_ranks(1, non_finite, 0.0) == [""]
