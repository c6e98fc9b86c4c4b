"""Services that track experiments: what reaches them, and that none of their faults reaches a run."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cli_ray.config.train import Sink
from cli_ray.data.share import Share
from cli_ray.errors import UserError
from cli_ray.train import checks
from cli_ray.train.callbacks import trackers
from cli_ray.train.callbacks.services import Line, Run, State
from cli_ray.train.callbacks.trackers import SERVICES, TRACKING, Tracker, legal_names, reason
from cli_ray.train.checks import check_sinks
from cli_ray.train.run_folder import RunFolder
from tests.train.callbacks.test_callbacks import METRICS, loop_at

NAMES: list[Sink] = ["wandb", "tensorboard", "mlflow"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(trackers, "RETRY_S", 0.1)
    monkeypatch.setattr(trackers, "CLOSE_S", 120.0)
    monkeypatch.chdir(tmp_path)


def track(name: Sink, folder: Path, *steps: int) -> None:
    """A start of a run that logs some steps."""
    tracker, loop = Tracker(name), loop_at(folder, step=steps[0] - 1)
    loop.pause = None
    tracker.on_start(loop)
    for step in steps:
        tracker.on_step(loop, Share(), {**METRICS, "step": step})
    tracker.on_end(loop)


def mlflow_runs(folder: Path) -> Any:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    return client, client.search_runs([experiment.experiment_id])


@pytest.mark.parametrize("name", NAMES)
def test_sinks_record_what_they_are_given(name: Sink, tmp_path: Path) -> None:
    track(name, tmp_path, 3)
    if name == "wandb":
        [record] = tmp_path.glob("wandb/offline-run-*/*.wandb")
        assert b"gate_max/v5_d1" in record.read_bytes()
    if name == "tensorboard":
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        assert [(event.step, event.value) for event in events.Scalars("loss/tar")] == [(3, 1.25)]
    if name == "mlflow":
        _, [run] = mlflow_runs(tmp_path)
        assert run.data.metrics["gate_max/v5_d1"] == -0.4
        assert (run.info.run_name, run.info.status) == ("run", "FINISHED")


@pytest.mark.slow
def test_a_run_that_goes_on_is_the_same_run_for_services(tmp_path: Path) -> None:
    for name in NAMES:
        track(name, tmp_path, 1, 2, 3)
        track(name, tmp_path, 2, 3, 4)  # from a checkpoint of step 1
    known = json.loads((tmp_path / TRACKING).read_text())["id"]
    client, [run] = mlflow_runs(tmp_path)
    assert {point.step for point in client.get_metric_history(run.info.run_id, "loss")} == {1, 2, 3, 4}
    # offline-run-TIME-ID, and -1 behind it for a second one of the same second
    assert {folder.name.split("-")[3] for folder in tmp_path.glob("wandb/offline-run-*")} == {known}
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


def test_names_are_legal_for_all_and_stay_apart() -> None:
    labels = ["*.tar", "?.tar", "tar", "..", "a/../b", "/", "数据", "x" * 300, "x" * 301, "a b:c"]
    legal = legal_names(labels)
    assert legal["loss/*.tar"] == "loss/_.tar"
    assert legal["loss/?.tar"] == "loss/_.tar_2"
    assert legal["loss/tar"] == "loss/tar"
    assert len(set(legal.values())) == len(labels)
    for name in legal.values():
        _validate_metric_name(name)
        assert len(name) <= 250
        assert re.fullmatch(r"[\w./-]+", name)  # as TensorBoard wants it


class Broken:
    """A service that fails for a while."""

    def __init__(self, failures: int, during: str) -> None:
        self.failures, self.during = failures, during
        self.steps: list[int] = []
        self.opened = 0

    def open(self, run: Run, first_step: int) -> None:
        self.opened += 1
        self._fail("open")

    def log(self, line: Line) -> None:
        self._fail("log")
        self.steps.append(line.step)

    def close(self, state: State) -> None:
        self._fail("close")

    def abandon(self) -> None:
        pass

    def _fail(self, what: str) -> None:
        if what == self.during and self.failures:
            self.failures -= 1
            raise RuntimeError("503 of http://me:secret@host/x")


@pytest.mark.parametrize("during", ["open", "log"])
def test_a_service_that_fails_says_so_once_and_gets_all_later(
    during: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Broken(3, during)
    monkeypatch.setitem(SERVICES, "mlflow", lambda: service)
    tracker, loop = Tracker("mlflow"), loop_at(tmp_path, step=0)
    loop.pause = None
    tracker.on_start(loop)
    for step in (1, 2, 3):
        tracker.on_step(loop, Share(), {**METRICS, "step": step})
    until = time.monotonic() + 10
    while len(service.steps) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    tracker.on_end(loop)
    assert service.steps == [1, 2, 3]
    assert service.opened == 4
    told = capsys.readouterr().out
    assert told.count("log.sinks: mlflow fails") == 1
    assert "503 of http://host/x" in told
    assert "secret" not in told
    assert "did not reach" not in told


@pytest.mark.parametrize("during", ["open", "log", "close"])
def test_a_service_that_stays_away_costs_no_step(
    during: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers, "KEPT", 2)
    monkeypatch.setitem(SERVICES, "wandb", lambda: Broken(10**9, during))
    track("wandb", tmp_path, 1, 2, 3, 4)
    told = capsys.readouterr().out
    assert told.count("log.sinks: wandb fails") == 1
    assert ("4 logged steps did not reach wandb" in told) == (during != "close")


def test_a_service_that_hangs_holds_the_end_up_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release = threading.Event()

    class Hanging(Broken):
        def log(self, line: Line) -> None:
            release.wait()

    monkeypatch.setattr(trackers, "CLOSE_S", 0.2)
    monkeypatch.setitem(SERVICES, "mlflow", lambda: Hanging(0, ""))
    start = time.monotonic()
    track("mlflow", tmp_path, 1, 2)
    assert time.monotonic() - start < 5
    assert "2 logged steps did not reach mlflow" in capsys.readouterr().out
    release.set()


@pytest.fixture
def unavailable() -> Iterator[str]:
    """Address of a server that answers 503 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_answers_503(
    unavailable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", unavailable)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    track("mlflow", tmp_path, 1, 2)
    told = capsys.readouterr().out
    assert told.count("log.sinks: mlflow fails") == 1
    assert "503" in told
    assert "2 logged steps did not reach mlflow" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r": opened(Path("/dev/full") if "tfevents" in path.name else path, mode)
    )
    track("tensorboard", tmp_path, 1, 2)
    told = capsys.readouterr().out
    assert told.count("log.sinks: tensorboard fails") == 1
    assert "No space left on device" in told


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_written(name: Sink, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.write_text("a file where a folder should be")
    track(name, run, 1)
    told = capsys.readouterr().out
    assert told.count(f"log.sinks: {name} fails") == 1
    assert f"1 logged steps did not reach {name}" in told


def test_wandb_that_is_killed_in_between_begins_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker, loop = Tracker("wandb"), loop_at(tmp_path, step=0)
    loop.pause = None
    tracker.on_start(loop)
    tracker.on_step(loop, Share(), {**METRICS, "step": 1})
    delivery = tracker._delivery
    assert delivery is not None
    until = time.monotonic() + 30
    while (delivery._lines or not list(tmp_path.glob("wandb/offline-run-*"))) and time.monotonic() < until:
        time.sleep(0.05)
    [core] = [pid for pid in children(os.getpid()) if "wandb-core" in command(pid)]
    os.kill(core, signal.SIGKILL)
    until = time.monotonic() + 30
    step = 1
    while len(list(tmp_path.glob("wandb/offline-run-*"))) < 2 and time.monotonic() < until:
        step += 1
        tracker.on_step(loop, Share(), {**METRICS, "step": step})
        time.sleep(0.2)
    tracker.on_end(loop)
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    assert capsys.readouterr().out.count("log.sinks: wandb fails") == 1


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in told.split()]


def command(pid: int) -> str:
    """The command line of a process; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_folder_on_no_mounted_filesystem_holds_no_files() -> None:
    run = Run(loop_at(Path("/x"), 0).config, RunFolder("mock:///runs/a"), "id")
    with pytest.raises(OSError, match="need a run folder on a mounted filesystem, not mock:///runs/a"):
        _ = run.local


def test_an_address_is_told_without_its_login() -> None:
    assert reason(ValueError("http://me:pw@host:1/a\nfailed")) == "ValueError: http://host:1/a failed"


def test_a_sink_that_is_not_installed_is_told_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    check_sinks(NAMES)
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    told = "log.sinks names 'mlflow', which is not installed: pip install alembic mlflow-skinny sqlalchemy on all nodes"
    with pytest.raises(UserError, match=told):
        check_sinks(["mlflow"])


def test_the_install_line_is_that_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(SERVICES) - set(extras) == {"wandb"}
    assert set(SERVICES["wandb"].packages) <= set(project["dependencies"])
    for name in SERVICES.keys() & extras:
        assert list(SERVICES[name].packages) == extras[name]
