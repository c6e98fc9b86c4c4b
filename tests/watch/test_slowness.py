"""Why a run is slow: the causes in recorded steps, and what would be gained."""

from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands import why_slow
from cli_ray.errors import UserError
from cli_ray.watch.history import read_run
from cli_ray.watch.slowness import Cause, causes, slow_shards
from cli_ray.watch.times import StepTimes, outside_s, step_times
from tests.watch.folders import event, run_config, step, write_run

BESIDE: dict[str, Any] = {"beside_ms/Checkpointer": 40.0, "beside_ms/Tracker": 2.0, "beside_ms/Odd": 3.0}


def times_of(folder: Path, seconds: float = 1.0, **changes: Any) -> StepTimes:
    """Those of a run of eleven steps that are alike."""
    return step_times(read_run(write_run(folder, [step(n, seconds * n, **changes) for n in range(1, 12)]).uri))


def cause_of(times: StepTimes, **sections: Any) -> Cause:
    """The first cause."""
    return causes(times, run_config(**sections))[0]


def test_a_run_whose_steps_are_its_own_work_has_no_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = times_of(tmp_path)
    assert times.covered == 10
    assert times.whole_ms == pytest.approx(1000)
    assert causes(times, run_config()) == []
    why_slow.main([str(tmp_path)])
    assert "Nothing stands out: forward, backward and optimizer are 60% of the time." in capsys.readouterr().out


def test_the_parts_of_a_step_add_up_to_the_whole(tmp_path: Path) -> None:
    times = times_of(tmp_path, **BESIDE)
    parts = times.parts()
    assert sum(parts.values()) == pytest.approx(1000)
    assert {name: parts[name] for name in ("forward", "backward", "optimizer", "checkpoint", "metrics")} == {
        "forward": 200, "backward": 350, "optimizer": 50, "checkpoint": 40, "metrics": 2,
    }  # fmt: skip
    assert (parts["other callbacks"], parts["waiting for other ranks, exchange"]) == (3, 100)


def test_slow_shards_are_named_with_the_gain_of_faster_ones(tmp_path: Path) -> None:
    slow = {"reads": 4, "read_ms": 310.0, "slowest_read_ms": 1200.0, "slowest_shard": "/data/slow.tar"}
    fast = {"reads": 4, "read_ms": 15.0, "slowest_read_ms": 25.0, "slowest_shard": "/data/fast.tar"}
    rows = [step(n, 2.0 * n, data_wait_ms=(0.0, 900.0), **(slow if n % 2 else fast)) for n in range(1, 12)]
    times = step_times(read_run(write_run(tmp_path, rows).uri))
    assert slow_shards(times) == {"/data/slow.tar": 1200.0}
    cause = cause_of(times)
    assert (cause.name, cause.saved_ms) == ("data", 900)
    assert "/data/slow.tar (1,200 ms a piece)" in cause.finding
    assert "data.prefetch_windows = 4 (now 2)" in cause.advice


def test_a_stream_that_is_slow_as_a_whole_wants_cpus(tmp_path: Path) -> None:
    cause = cause_of(times_of(tmp_path, seconds=2.0, data_wait_ms=(700.0, 900.0)))
    assert cause.name == "data"
    assert "lower cluster.cpus_per_worker (now 1) or add nodes" in cause.advice


def test_a_single_long_wait_is_not_what_steps_usually_wait(tmp_path: Path) -> None:
    rows = [step(n, 2.0 * n, data_wait_ms=(0.0, 9000.0 if n == 3 else 10.0)) for n in range(1, 12)]
    cause = cause_of(step_times(read_run(write_run(tmp_path, rows).uri)))
    assert cause.finding.endswith("; nearly all of it is one wait, 9.0 s at step 3")
    assert "cluster.cpus_per_worker" not in cause.advice


def test_a_slow_rank_is_named(tmp_path: Path) -> None:
    cause = cause_of(times_of(tmp_path, seconds=1.5, compute_ms=(600.0, 1100.0)))
    assert (cause.name, cause.saved_ms) == ("slow rank", 500)
    assert "rank 1 computes longest in 100% of the steps: 1,100 ms, the median rank 600 ms" in cause.finding


def test_a_rank_that_has_more_to_compute_is_not_slow(tmp_path: Path) -> None:
    figures = {
        name: [1.0, 2.0] for name in ("data_wait_ms", "forward_ms", "backward_ms", "optimizer_ms", "rank_wait_ms")
    }
    line = {"step": 3, "steps": 3, "step_ms": [1.0, 1.0], "compute_ms": [600.0, 1100.0], "flops": [1e9, 2e9], **figures}
    tokens = {"real_tokens/median": 400, "real_tokens/max": 800}
    rows = [step(n, 1.5 * n, compute_ms=(600.0, 1100.0), **tokens) for n in range(1, 5)]
    times = step_times(read_run(write_run(tmp_path, rows, ranks=[line]).uri))
    cause = cause_of(times, train={"packing": False})
    assert cause.name == "uneven ranks"
    assert "train.packing = true" in cause.advice


def test_ranks_that_are_slow_in_turn_are_not_called_slow(tmp_path: Path) -> None:
    turns = [{"compute_ms/rank": n % 2, "real_tokens/median": 400, "real_tokens/max": 400} for n in range(12)]
    rows = [step(n, 1.5 * n, compute_ms=(600.0, 1100.0)) | turns[n] for n in range(1, 12)]
    cause = cause_of(step_times(read_run(write_run(tmp_path, rows).uri)))
    assert (cause.name, cause.saved_ms) == ("unsteady ranks", 500)


def test_a_shard_that_was_slow_once_is_not_called_slow(tmp_path: Path) -> None:
    reads = {"reads": 4, "read_ms": 310.0, "slowest_read_ms": 1200.0}
    rows = [step(n, 2.0 * n, **reads, slowest_shard=f"/data/{n}.tar") for n in range(1, 12)]
    assert slow_shards(step_times(read_run(write_run(tmp_path, rows).uri))) == {}


def test_checkpoints_at_every_step_are_to_be_written_more_seldom(tmp_path: Path) -> None:
    rows = [step(n, 2.0 * n, **{"beside_ms/Checkpointer": 1000.0}) for n in range(1, 12)]
    times = step_times(read_run(write_run(tmp_path, rows).uri))
    cause = cause_of(times, checkpoint={"every": 1})
    assert cause.finding == "checkpoint takes 1,000 ms of each step, 1.0 s each time (every 1 steps)"
    # At 50 steps of 1 s between two, a checkpoint of 1 s takes the 2 % that it may.
    assert cause.advice == "checkpoint.every = 50 (now 1)"
    assert cause.saved_ms == pytest.approx(980)


def test_what_is_done_between_logged_steps_counts_for_the_steps_between_them(tmp_path: Path) -> None:
    rows = [step(n, 1.5 * n, **{"beside_ms/Validator": 5000.0}) for n in (10, 20, 30)]
    times = step_times(read_run(write_run(tmp_path, rows).uri))
    cause = cause_of(times, validation={"every": 10})
    assert (times.covered, times.beside()) == (20, {"validation": 500})
    assert cause.name == "validation"
    assert cause.advice.startswith("validation.every = 250 (now 10), or fewer samples")


def test_padding_is_mended_by_packing(tmp_path: Path) -> None:
    cause = cause_of(times_of(tmp_path, padding_share=0.4), train={"packing": False})
    assert cause.name == "padding"
    assert cause.saved_ms == pytest.approx(240)
    assert cause.advice.startswith("train.packing = true")


def test_computing_activations_again_costs_a_forward_pass(tmp_path: Path) -> None:
    cause = cause_of(times_of(tmp_path), train={"packing": True, "pack_tokens": 256, "activation_checkpointing": True})
    assert (cause.name, cause.saved_ms) == ("recomputing", 200)


def test_the_first_step_of_a_start_and_the_time_of_a_restart_do_not_count(tmp_path: Path) -> None:
    rows = [step(1, 30), step(2, 31), step(3, 32), step(4, 100), step(5, 101)]
    run = write_run(tmp_path, rows, [event("begin", 0), event("restart", 40, reason="x"), event("begin", 70)])
    times = step_times(read_run(run.uri))
    assert len(times.pairs) == 3
    assert times.whole_ms == pytest.approx(1000)


def test_starts_and_the_end_of_a_run_are_told_beside_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [
        event("start", 0), event("begin", 20), event("fault", 40, reason="x"), event("restart", 45, reason="x"),
        event("begin", 60), event("checkpoint", 70, step=4), event("end", 75, step=4),
    ]  # fmt: skip
    rows = [step(1, 21), step(2, 22), step(3, 61), step(4, 62)]
    run = write_run(tmp_path, rows, events)
    assert list(outside_s(read_run(run.uri)).values()) == [40, 13]
    why_slow.main([run.uri])
    told = "starting took 40 s, from the last step to the end (last checkpoint, evaluation) took 13 s"
    assert f"Beside its steps: {told}." in capsys.readouterr().out


def test_a_run_of_an_older_version_has_no_phases_and_no_reads(tmp_path: Path) -> None:
    rows = [
        {
            name: value
            for name, value in step(n, n).items()
            if name.split("_")[0] not in ("forward", "backward", "optimizer")
        }
        for n in (1, 2, 3)
    ]
    times = step_times(read_run(write_run(tmp_path, rows).uri))
    assert times.parts()["collating and the rest of the step"] == 600
    assert causes(times, run_config()) == []


def test_a_run_that_has_hardly_begun_cannot_be_judged(tmp_path: Path) -> None:
    run = write_run(tmp_path, [step(1, 1)])
    with pytest.raises(UserError, match="has no two logged steps of one start yet"):
        why_slow.main([run.uri])


def test_the_verb_prints_parts_ranks_and_causes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("data_wait_ms", "forward_ms", "backward_ms", "optimizer_ms", "rank_wait_ms", "compute_ms")
    line = {"step": 3, "steps": 3, "step_ms": [9.0] * 20, "flops": [1e9] * 20}
    line |= {name: [float(rank) for rank in range(20)] for name in names}
    rows = [step(n, 1.5 * n, compute_ms=(600.0, 1100.0)) for n in range(1, 5)]
    why_slow.main([write_run(tmp_path, rows, ranks=[line], config=run_config()).uri])
    out = capsys.readouterr().out
    assert "A step takes 1,500 ms, the mean over the last 3 steps" in out
    assert "| 19 " in out
    assert "| 3 " not in out
    assert "and 4 ranks that take less" in out
    assert "1. slow rank: rank 1 computes longest" in out
    assert "gain: up to 500 of 1,500 ms a step (33%)." in out
