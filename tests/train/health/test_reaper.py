"""The end of processes that hear no order."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import ray

from cli_ray.train.health import supervisor
from cli_ray.train.health.heartbeat import Sign
from cli_ray.train.health.supervisor import end_ranks, kill

SLEEPER = ["bash", "-c", "exec -a ray::Rank sleep 600"]


def stopped(words: list[str]) -> subprocess.Popen[bytes]:
    """A frozen process, once its title is there."""
    process = subprocess.Popen(words)
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":
        continue
    process.send_signal(signal.SIGSTOP)
    return process


def test_a_frozen_process_of_ray_is_killed_and_no_other_one() -> None:
    rank, other = stopped(SLEEPER), stopped(["sleep", "600"])
    kill([rank.pid, other.pid, 2**22 + 1], grace_s=0.1)
    assert rank.wait() == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_process_that_ends_by_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = iter([True, True, False])
    monkeypatch.setattr(supervisor, "_lives", lambda pid: next(alive, False))
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("it was killed"))
    kill([1], grace_s=1.0)


@pytest.mark.usefixtures("cluster")
@pytest.mark.slow
def test_ranks_are_ended_on_their_node_though_no_cpu_is_free() -> None:
    rank = stopped(SLEEPER)
    sign = Sign(0, "life", ray.get_runtime_context().get_node_id(), rank.pid, "step", "", step=3, seconds=40)
    end_ranks([sign])
    assert rank.wait(60) == -signal.SIGKILL
