"""One driver at a time per run folder: who is refused, who is waited for and who is taken for dead."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_ray.errors import UserError
from cli_ray.train.health.run_lock import FILE, LEAST_S, PATIENCE_S, Lease
from cli_ray.train.run_folder import RunFolder

LONG_AGO = 1_000.0


class Clock:
    """Time that passes when somebody sleeps; `then` happens in the first sleep."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.time, self._then = LONG_AGO + 5_000, then

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        then, self._then = self._then, lambda: None
        then()


class Lock:
    """The lock of a cluster, taken by another driver for the first `tries`."""

    def __init__(self, tries: int = 0) -> None:
        self.tries, self.held = tries, False

    def take(self) -> str:
        self.tries -= 1
        if self.tries >= 0:
            raise ValueError("taken")
        self.held = True
        return "lock"

    def free(self, lock: str) -> None:
        assert lock == "lock"
        self.held = False


def lease(folder: RunFolder, clock: Clock | None = None, lock: Lock | None = None) -> Lease:
    clock, lock = clock or Clock(), lock or Lock()
    return Lease(folder, "here", lock.take, lock.free, clock.now, clock.sleep)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "run"))


@pytest.fixture
def leave(folder: RunFolder) -> Callable[..., None]:
    """Leaves the lease of a driver behind: the one of this process, with changes."""
    with lease(folder):
        fields = json.loads(folder.read(FILE) or "")
    return lambda **changes: folder.write(FILE, json.dumps(fields | {"id": "other"} | changes))


def test_the_file_says_who_holds_the_folder_and_is_gone_at_the_end(folder: RunFolder) -> None:
    lock = Lock()
    with lease(folder, lock=lock) as held:
        fields = json.loads(folder.read(FILE) or "")
        assert (fields["pid"], fields["cluster"], lock.held) == (os.getpid(), "here", True)
        held.check()
    assert (folder.read(FILE), lock.held) == (None, False)


def test_a_living_driver_on_this_host_is_told_at_once(folder: RunFolder, leave: Callable[..., None]) -> None:
    clock = Clock()
    leave(cluster="other", since=0.0, renewed=clock.time - 3)
    message = rf"in use by process {os.getpid()} on host .*since 1970-01-01 00:00:00 UTC, last sign 3 s ago: let it end"
    with pytest.raises(UserError, match=message), lease(folder, clock):
        pass
    assert clock.time == LONG_AGO + 5_000


@pytest.mark.parametrize("ended", ["reaped", "zombie", "another with its number"])
def test_a_driver_that_was_killed_on_this_host_is_followed_at_once(
    folder: RunFolder, leave: Callable[..., None], ended: str
) -> None:
    other = subprocess.Popen(["sleep", "60"])
    started = Path(f"/proc/{other.pid}/stat").read_text().split()[21]
    pid = os.getpid() if ended == "another with its number" else other.pid
    other.kill()
    if ended == "zombie":
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    else:
        other.wait()
    clock = Clock()
    leave(cluster="other", pid=pid, started=started, renewed=clock.time)
    with lease(folder, clock):
        assert clock.time == LONG_AGO + 5_000
    other.wait()


def test_the_actor_of_a_killed_driver_is_waited_for(folder: RunFolder) -> None:
    lock = Lock(tries=5)
    with lease(folder, lock=lock):
        assert lock.held


def test_an_actor_that_stays_is_another_driver(folder: RunFolder, leave: Callable[..., None]) -> None:
    leave(place="elsewhere", host="node7", pid=12)
    with pytest.raises(UserError, match="in use by process 12 on host node7"), lease(folder, lock=Lock(tries=1000)):
        pass


def test_a_driver_of_the_same_cluster_without_its_lock_is_dead(folder: RunFolder, leave: Callable[..., None]) -> None:
    clock = Clock()
    leave(place="elsewhere", cluster="here", renewed=clock.time)
    with lease(folder, clock):
        assert clock.time == LONG_AGO + 5_000


@pytest.mark.parametrize(
    ("age", "waits"), [(0.0, PATIENCE_S), (20.0, PATIENCE_S - 20), (4_000.0, LEAST_S), (-900.0, PATIENCE_S)]
)
def test_a_silent_driver_elsewhere_is_waited_for(
    folder: RunFolder, leave: Callable[..., None], capsys: pytest.CaptureFixture[str], age: float, waits: float
) -> None:
    clock = Clock()
    leave(place="elsewhere", host="node7", cluster="other", renewed=clock.time - age)
    with lease(folder, clock):
        assert clock.time == LONG_AGO + 5_000 + waits
    assert f"on host node7, since 1970-01-01 01:40:00 UTC, last sign {max(0, age):.0f} s ago" in capsys.readouterr().out


def test_a_driver_elsewhere_that_gives_a_sign_is_told(folder: RunFolder, leave: Callable[..., None]) -> None:
    clock = Clock(then=lambda: leave(place="elsewhere", host="node7", renewed=clock.time))
    leave(place="elsewhere", host="node7", cluster="other", renewed=LONG_AGO)
    lock = Lock()
    with pytest.raises(UserError, match=r"on host node7.*last sign 0 s ago"), lease(folder, clock, lock):
        pass
    assert not lock.held


def test_a_driver_elsewhere_that_ends_is_followed(folder: RunFolder, leave: Callable[..., None]) -> None:
    clock = Clock(then=lambda: folder.delete_file(FILE))
    leave(place="elsewhere", cluster="other", renewed=clock.time)
    with lease(folder, clock):
        assert clock.time == LONG_AGO + 5_001


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]", "7"])
def test_a_damaged_lease_is_waited_for(folder: RunFolder, text: str) -> None:
    folder.write(FILE, text)
    clock = Clock()
    with lease(folder, clock):
        assert clock.time == LONG_AGO + 5_000 + PATIENCE_S


def test_a_driver_whose_folder_was_taken_learns_it_and_leaves_it(folder: RunFolder, leave: Callable[..., None]) -> None:
    with lease(folder) as held:
        held.renew()
        held.check()
        leave(host="node7")
        held.renew()
        with pytest.raises(UserError, match=r"in use by .* on host node7"):
            held.check()
    assert folder.exists(FILE)


def test_storage_that_fails_is_told_once(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no room")

    with lease(folder) as held:
        monkeypatch.setattr(folder, "write", fail)
        held.renew()
        held.renew()
    assert capsys.readouterr().out.count("could not be renewed, which is tried again: no room") == 1
