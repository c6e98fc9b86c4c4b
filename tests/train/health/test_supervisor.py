"""What a driver says of ranks that do not move."""

import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli_ray.config import ClusterConfig
from cli_ray.errors import RunFailedError, StoppedError
from cli_ray.train.health import supervisor
from cli_ray.train.health.diagnosis import diagnose, idle_s, unplaced
from cli_ray.train.health.heartbeat import ENDED, Seen, Sign
from cli_ray.train.health.supervisor import Supervisor
from cli_ray.train.run_folder import RunFolder
from tests.said import said

CLUSTER = ClusterConfig(num_workers=2, gpus_per_worker=0, notice_s=60, timeout_s=600)


def seen(rank: int, phase: str, seconds: float, silent_s: float = 0.5, detail: str = "") -> Seen:
    sign = Sign(rank, f"life {rank}", "abcdef0123", 100 + rank, phase, detail, step=7, seconds=seconds)
    return Seen(sign, silent_s)


def test_a_run_is_idle_once_no_rank_moves() -> None:
    assert idle_s([]) == 0
    assert idle_s([seen(0, "step", 90), seen(1, "validation", 3)]) == 3.5
    assert idle_s([seen(0, "step", 90), seen(1, "step", 0.2, silent_s=95)]) == 90.5
    assert idle_s([seen(0, ENDED, 500), seen(1, ENDED, 500)]) == 0


@pytest.mark.parametrize(
    ("ranks", "free", "parts"),
    [
        (
            [seen(0, "step", 80), seen(1, "step", 2, silent_s=81)],
            {"CPU": 4.0},
            [
                "rank 1 (process 101 on node abcdef01) in step of step 7 has given no sign of life for 81 s",
                "rank 0 waits",
            ],
        ),
        (
            [seen(0, "data", 70), seen(1, "step", 70)],
            {},
            [
                "rank 0 waits for data since 70 s",
                "no free CPU",
                "lower cluster.cpus_per_worker",
                "ray start --num-cpus",
            ],
        ),
        (
            [seen(0, "data", 70, detail="epoch 0, window 3 of 9, from s3://b/a.tar"), seen(1, "data", 90)],
            {"CPU": 3.0},
            ["ranks 0, 1 wait for data", "window 3 of 9, from s3://b/a.tar", "Is the storage of data.sources slow"],
        ),
        (
            [seen(0, "step", 70, detail="micro-batch 1 of 2"), seen(1, "callback", 70, detail="Validator")],
            {"CPU": 3.0},
            ["no rank has moved for 70 s", "in step of step 7, micro-batch 1 of 2", "in callback of step 7, Validator"],
        ),
    ],
    ids=["frozen", "starved", "stalled reader", "stuck"],
)
def test_who_is_at_fault_is_told_with_the_field_to_change(
    ranks: list[Seen], free: dict[str, float], parts: list[str]
) -> None:
    told = diagnose(ranks, free, CLUSTER)
    assert [part for part in parts if part not in told] == []
    assert "After cluster.timeout_s = 600 s the run restarts from its last checkpoint" in told


def test_workers_without_room_are_told_with_what_there_is() -> None:
    cluster = ClusterConfig(num_workers=4, gpus_per_worker=1, cpus_per_worker=2)
    told = unplaced(61.0, {"CPU": 16.0, "GPU": 4.0}, {"CPU": 9.0, "GPU": 1.0}, cluster)
    assert "asked for 4 x 2 CPU and 4 x 1 GPU, the cluster has 9 of 16 CPU free, 1 of 4 GPU free" in told
    assert "Lower cluster.num_workers" in told


def test_where_every_rank_is_silent_its_process_may_be_gone() -> None:
    told = diagnose([seen(0, "step", 2, silent_s=81), seen(1, "data", 2, silent_s=80)], {"CPU": 0.5}, CLUSTER)
    assert "no rank has given a sign of life for 80 s: rank 0 (process 100 on node abcdef01) in step" in told
    assert "they have ended and new ones find no room beside 0.5 CPU and 0 GPU that are free" in told


class FakePulse:
    """The actor's methods, as Ray calls them."""

    def __init__(self, looks: list[list[Seen]]) -> None:
        self.looks = iter(looks)
        self.orders: list[tuple[str, str]] = []
        self.look = SimpleNamespace(remote=lambda: next(self.looks, []))
        self.stop = SimpleNamespace(remote=lambda reason: self.orders.append(("stop", reason)))
        self.end = SimpleNamespace(remote=lambda reason: self.orders.append(("end", reason)))


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> list[Sign]:
    """Stands for Ray; the ranks whose processes were ended."""
    ended: list[Sign] = []
    fake: Any = SimpleNamespace(
        get=lambda found, timeout: found,
        available_resources=lambda: {"CPU": 3.0},
        cluster_resources=lambda: {"CPU": 4.0},
    )
    monkeypatch.setattr(supervisor, "ray", fake)
    monkeypatch.setattr(supervisor, "autoscaler", SimpleNamespace(news=lambda: "its autoscaler is at work"))
    monkeypatch.setattr(supervisor, "LOOK_S", 0.001)
    monkeypatch.setattr(supervisor, "end_ranks", ended.extend)
    return ended


def test_notices_double_their_pause_and_a_run_that_stays_stuck_is_restarted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fake_ray: list[Sign]
) -> None:
    folder = RunFolder(str(tmp_path))
    pulse = FakePulse([[seen(0, "data", seconds, 0.0), seen(1, "step", seconds)] for seconds in range(0, 605, 5)])
    run = Supervisor(CLUSTER, folder, pulse, lambda: None)
    for _ in range(0, 600, 5):
        run.look()
    assert [line.split(" s,")[0] for line in said(capsys.readouterr().out)] == [
        f"rank 0 waits for data since {seconds}" for seconds in (60, 120, 240, 480)
    ]
    assert (pulse.orders, fake_ray) == ([], [])
    run.look()
    assert [order for order, _ in pulse.orders] == ["end"]
    assert [sign.rank for sign in fake_ray] == [0, 1]
    assert "restarting the workers: rank 0 waits for data since 600 s" in capsys.readouterr().out
    assert (folder.read("events.jsonl") or "").count('"event": "waiting"') == 4


@pytest.mark.usefixtures("fake_ray")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("came_to", ["this process", "the driver of its sweep"])
def test_a_signal_before_any_worker_is_at_work_ends_the_run(
    tmp_path: Path, number: signal.Signals, came_to: str
) -> None:
    pulse, never, is_here = FakePulse([]), threading.Event(), came_to == "this process"
    run = Supervisor(CLUSTER, RunFolder(str(tmp_path)), pulse, lambda: None if is_here else number)

    def fit() -> dict[str, Any]:
        if is_here:
            signal.raise_signal(number)
        never.wait()
        return {}

    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=f"stopped while no worker was at work by {number.name}"):
        run.run(fit, never.set)
    assert pulse.orders == [("stop", number.name)]
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("fake_ray")
def test_a_run_whose_workers_find_no_room_ends(tmp_path: Path) -> None:
    never = threading.Event()

    def fit() -> dict[str, Any]:
        never.wait()
        return {}

    cluster = CLUSTER.model_copy(update={"timeout_s": 0.05})
    message = r"no worker has begun .* for 2 x 1 CPU, the cluster has 3 of 4 CPU free, and its autoscaler is at work"
    with pytest.raises(RunFailedError, match=message):
        Supervisor(cluster, RunFolder(str(tmp_path)), FakePulse([]), lambda: None).run(fit, never.set)
