"""One driver at a time per run folder: who is refused, who is waited for and who is taken for dead."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_ray.errors import UserError
from cli_ray.train.health.run_lock import RunLock, machine_file
from cli_ray.train.run_folder import LEASE, PATIENCE_S, RunFolder

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


class Actor:
    """The actor of a run, held by another driver for the first `tries`."""

    def __init__(self, tries: int = 0) -> None:
        self.tries, self.held = tries, False

    def start(self) -> str:
        self.tries -= 1
        if self.tries >= 0:
            raise ValueError("taken")
        self.held = True
        return "actor"

    def end(self, actor: str) -> None:
        assert actor == "actor"
        self.held = False


def run_lock(folder: RunFolder, clock: Clock | None = None, actor: Actor | None = None, machine: str = "") -> RunLock:
    """The lock of a driver in Ray cluster `here`, on a machine that is another one for each name."""
    clock, actor = clock or Clock(), actor or Actor()
    file = Path(f"{folder.path}-{machine}.lock")
    return RunLock(folder, "here", actor.start, actor.end, file, clock.now, clock.sleep)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "run"))


@pytest.fixture
def leave(folder: RunFolder) -> Callable[..., None]:
    """Leaves the lease of a driver elsewhere behind: the one of this process, with changes."""
    with run_lock(folder, machine="other"):
        fields = json.loads(folder.read(LEASE) or "")
    return lambda **changes: folder.write(LEASE, json.dumps(fields | {"cluster": "other", "id": "other"} | changes))


def test_the_file_says_who_holds_the_folder_and_is_gone_at_the_end(folder: RunFolder) -> None:
    actor = Actor()
    with run_lock(folder, actor=actor) as lock:
        fields = json.loads(folder.read(LEASE) or "")
        assert (fields["pid"], fields["cluster"], actor.held) == (os.getpid(), "here", True)
        lock.check()
    assert (folder.read(LEASE), actor.held) == (None, False)


def test_a_living_driver_on_this_machine_is_told_at_once(folder: RunFolder) -> None:
    clock, actor = Clock(), Actor()
    message = rf"in use by process {os.getpid()} on host .*since 1970-01-01 01:40:00 UTC, last sign 0 s ago: let it end"
    with run_lock(folder), pytest.raises(UserError, match=message), run_lock(folder, clock, actor):
        pass
    assert (clock.time, actor.tries) == (LONG_AGO + 5_000, 0)
    with run_lock(folder, clock):
        pass


DRIVER = """
import sys, time
from pathlib import Path
from cli_ray.train.health.run_lock import RunLock
from cli_ray.train.run_folder import LEASE, PATIENCE_S, RunFolder

with RunLock(RunFolder(sys.argv[1]), "other", lambda: None, print, Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("is_reaped", [True, False])
def test_a_driver_that_was_killed_on_this_machine_is_followed_at_once(folder: RunFolder, is_reaped: bool) -> None:
    command = [sys.executable, "-c", DRIVER, folder.path, f"{folder.path}-.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"in use by process {driver.pid} on host"), run_lock(folder):
            pass
        driver.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, driver.pid, os.WEXITED | (0 if is_reaped else os.WNOWAIT))
        clock = Clock()
        with run_lock(folder, clock):
            assert clock.time == LONG_AGO + 5_000


def test_another_driver_of_this_machine_makes_no_stranger_a_dead_one(
    folder: RunFolder, leave: Callable[..., None]
) -> None:
    with run_lock(folder):
        pass
    leave()
    clock = Clock()
    with run_lock(folder, clock):
        assert clock.time == LONG_AGO + 5_000 + PATIENCE_S


def test_each_run_has_a_file_of_its_own_on_a_machine(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder.path)
    assert machine_file(RunFolder(str(tmp_path / "link"))) == machine_file(folder)
    assert machine_file(RunFolder(str(tmp_path / "run2"))) != machine_file(folder)


def test_the_actor_of_a_killed_driver_is_waited_for(folder: RunFolder) -> None:
    actor = Actor(tries=5)
    with run_lock(folder, actor=actor):
        assert actor.held


def test_an_actor_that_stays_is_another_driver(folder: RunFolder, leave: Callable[..., None]) -> None:
    leave(host="node7", pid=12)
    actor = Actor(tries=1000)
    with pytest.raises(UserError, match="in use by process 12 on host node7"), run_lock(folder, actor=actor):
        pass


def test_a_driver_of_the_same_cluster_without_its_lock_is_dead(folder: RunFolder, leave: Callable[..., None]) -> None:
    clock = Clock()
    leave(cluster="here", renewed=clock.time)
    with run_lock(folder, clock):
        assert clock.time == LONG_AGO + 5_000


@pytest.mark.parametrize("age", [0.0, 20.0, 4_000.0, -900.0])
def test_a_silent_driver_elsewhere_is_waited_for_whatever_its_clock_says(
    folder: RunFolder, leave: Callable[..., None], capsys: pytest.CaptureFixture[str], age: float
) -> None:
    clock = Clock()
    leave(host="node7", renewed=clock.time - age)
    with run_lock(folder, clock):
        assert clock.time == LONG_AGO + 5_000 + PATIENCE_S
    assert f"on host node7, since 1970-01-01 01:40:00 UTC, last sign {max(0, age):.0f} s ago" in capsys.readouterr().out


def test_a_driver_elsewhere_that_gives_a_sign_is_told(folder: RunFolder, leave: Callable[..., None]) -> None:
    clock = Clock(then=lambda: leave(host="node7", renewed=clock.time))
    leave(host="node7", renewed=LONG_AGO)
    actor = Actor()
    with pytest.raises(UserError, match=r"on host node7.*last sign 0 s ago"), run_lock(folder, clock, actor):
        pass
    assert not actor.held


def test_a_driver_elsewhere_that_ends_is_followed(folder: RunFolder, leave: Callable[..., None]) -> None:
    clock = Clock(then=lambda: folder.delete_file(LEASE))
    leave(renewed=clock.time)
    with run_lock(folder, clock):
        assert clock.time == LONG_AGO + 5_001


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]", "7"])
def test_a_damaged_lease_is_waited_for(folder: RunFolder, text: str) -> None:
    folder.write(LEASE, text)
    clock = Clock()
    with run_lock(folder, clock):
        assert clock.time == LONG_AGO + 5_000 + PATIENCE_S


def test_a_driver_whose_folder_was_taken_learns_it_and_leaves_it(folder: RunFolder, leave: Callable[..., None]) -> None:
    with run_lock(folder) as lock:
        lock.renew()
        lock.check()
        leave(host="node7")
        lock.renew()
        with pytest.raises(UserError, match=r"in use by .* on host node7"):
            lock.check()
    assert folder.exists(LEASE)


def test_storage_that_fails_is_told_once(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no room")

    with run_lock(folder) as lock:
        monkeypatch.setattr(folder, "write", fail)
        lock.renew()
        lock.renew()
    assert capsys.readouterr().out.count("could not be renewed, which is tried again: no room") == 1
