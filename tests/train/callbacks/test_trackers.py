"""Services that track experiments: what reaches them, and that none of their faults reaches a run."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.utils.validation import _validate_metric_name
from PIL import Image

from cli_ray.config.train import Sink
from cli_ray.data.share import Share
from cli_ray.errors import UserError
from cli_ray.train import checks
from cli_ray.train.callbacks import delivery
from cli_ray.train.callbacks.delivery import TRACKING
from cli_ray.train.callbacks.log import MetricsFile
from cli_ray.train.callbacks.services import reason
from cli_ray.train.callbacks.tracked import HeatMap, Line, Run, State
from cli_ray.train.callbacks.trackers import (
    PICTURE_EVERY,
    SERVICES,
    Tracker,
    deliver_results,
    legal_names,
    pictures,
    starts_of,
)
from cli_ray.train.checkpoint.files import Progress
from cli_ray.train.checks import check_sinks
from cli_ray.train.run_folder import RunFolder
from tests.train.callbacks.test_callbacks import METRICS, loop_at
from tests.train.callbacks.tracked_runs import losses, mlflow_of, tensorboard_of, wandb_rows

NAMES: list[Sink] = ["wandb", "tensorboard", "mlflow"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(delivery, "RETRY_S", 0.1)
    monkeypatch.setattr(delivery, "CLOSE_S", 120.0)
    monkeypatch.chdir(tmp_path)


def track(name: Sink, folder: Path, *steps: int) -> None:
    """A start of a run that logs some steps."""
    tracker, loop = Tracker(name), loop_at(folder, step=steps[0] - 1)
    loop.pause = None
    tracker.on_start(loop)
    for step in steps:
        tracker.on_step(loop, Share(), {**METRICS, "step": step})
    tracker.on_end(loop)


@pytest.mark.parametrize("name", NAMES)
def test_sinks_record_what_they_are_given(name: Sink, tmp_path: Path) -> None:
    track(name, tmp_path, 3)
    if name == "wandb":
        [row] = wandb_rows(tmp_path)
        assert (row["_step"], row["gate_max/v5_d1"]) == (3, -0.4)
    if name == "tensorboard":
        assert [(event.step, event.value) for event in tensorboard_of(tmp_path).Scalars("loss/tar")] == [(3, 1.25)]
    if name == "mlflow":
        _, run = mlflow_of(tmp_path)
        assert run.data.metrics["gate_max/v5_d1"] == -0.4
        assert (run.info.run_name, run.info.status) == ("run", "FINISHED")


RESULT = {
    "step": 2,
    "evaluated": True,
    "eval/pope": 88.5,
    "eval/pope_se": 0.5,
    "eval/mmvet": None,
    "eval/mmvet_se": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gates_come_as_pictures_and_scores_as_tables(name: Sink, tmp_path: Path) -> None:
    """At the first logged step; scores of step 2 when the run is at step 3."""
    tracker, loop = Tracker(name), loop_at(tmp_path, step=0)
    loop.pause = None
    tracker.on_start(loop)
    tracker.on_step(loop, Share(), {**METRICS, "step": 1})
    loop.results = [RESULT]
    tracker.on_step(loop, Share(), {**METRICS, "step": 3})
    tracker.on_end(loop)
    if name == "wandb":
        first, second = wandb_rows(tmp_path)
        [files] = tmp_path.glob("wandb/offline-run-*/files")
        picture = Image.open(files / first["gates/gate_mean.path"])
        assert "gates/gate_mean.path" not in second
        assert (second["_step"], second["eval/step"], second["eval/pope"]) == (3, 2, 88.5)
        table = json.loads((files / second["eval/scores.path"]).read_text())
        assert table["data"] == [["pope", 88.5, 0.5], ["mmvet", None, None]]
    if name == "tensorboard":
        events = tensorboard_of(tmp_path)
        [image] = events.Images("gates/gate_max")
        picture = Image.open(io.BytesIO(image.encoded_image_string))
        assert image.step == 1
        [text] = events.Tensors("eval/scores")
        assert text.step == 2
        assert "| pope      | 88.5  | 0.5            |" in text.tensor_proto.string_val[0].decode()
        assert [(event.step, event.value) for event in events.Scalars("eval/pope")] == [(2, 88.5)]
    if name == "mlflow":
        client, run = mlflow_of(tmp_path)
        [path] = tmp_path.glob("mlflow-files/*/artifacts/images/gates~gate_mean+step+1+*.png")
        picture = Image.open(path)
        [table] = tmp_path.glob("mlflow-files/*/artifacts/eval/scores/step-00000002.json")
        assert json.loads(table.read_text())["data"] == [["pope", 88.5, 0.5], ["mmvet", None, None]]
        assert [point.step for point in client.get_metric_history(run.info.run_id, "eval/pope")] == [2]
    assert picture.size == (400, 320)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_killed_and_goes_on_is_the_same_run_with_each_step_once(name: Sink, tmp_path: Path) -> None:
    """Killed after step 7, it goes on from a checkpoint of step 5; the services learn that it was started again.

    wandb writes its file every 15 s, and has then lost all that it was given.
    """
    words = [sys.executable, "-m", "tests.train.callbacks.tracked_runs", name, str(tmp_path), "7"]
    killed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    loop = loop_at(tmp_path, step=5)
    loop.pause = None
    loop.folder.event("resume")
    loop.folder.event("begin", checkpoint="checkpoints/step-00000005", workers=2)
    callbacks = [MetricsFile(), Tracker(name)]
    for callback in callbacks:
        callback.on_start(loop)
    for step in range(6, 11):
        for callback in callbacks:
            callback.on_step(loop, Share(), {**METRICS, "step": step, "loss": step / 8})
    for callback in callbacks:
        callback.on_end(loop)
    assert losses(name, tmp_path) == {step: [step / 8] for step in range(1, 11)}
    if name == "wandb":
        known = json.loads((tmp_path / TRACKING).read_text())
        # offline-run-TIME-ID, and -1 behind it for a second one of the same second
        assert {folder.name.split("-")[3] for folder in tmp_path.glob("wandb/offline-run-*")} == {known["id"]}
        [started] = [row for row in wandb_rows(tmp_path) if "restarts" in row]
        assert (started["_step"], started["restarts"], started["loss"]) == (6, 1, 6 / 8)
    if name == "tensorboard":
        events = tensorboard_of(tmp_path)
        assert [(event.step, event.value) for event in events.Scalars("restarts")] == [(6, 1.0)]
        assert "checkpoints/step-00000005" in events.Tensors("starts")[0].tensor_proto.string_val[0].decode()
    if name == "mlflow":
        [table] = tmp_path.glob("mlflow-files/*/artifacts/starts/step-00000006.json")
        assert json.loads(table.read_text())["data"][1][1:] == ["checkpoints/step-00000005", "2", "resume"]


def test_evaluations_that_end_after_the_training_reach_the_services(tmp_path: Path) -> None:
    track("tensorboard", tmp_path, 1, 2)
    config = loop_at(tmp_path, 0).config
    sinks = config.model_copy(update={"log": config.log.model_copy(update={"sinks": ("tensorboard",)})})
    folder = RunFolder(str(tmp_path))
    folder.write("metrics.jsonl", json.dumps({"step": 2}))
    deliver_results(sinks, folder, [RESULT], "finished")
    events = tensorboard_of(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("eval/pope")] == [(2, 88.5)]
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


def test_a_validation_between_logged_steps_is_delivered(tmp_path: Path) -> None:
    tracker, loop = Tracker("tensorboard"), loop_at(tmp_path, step=0)
    loop.pause = None
    tracker.on_start(loop)
    loop.progress, loop.validated = Progress(step=5), 1.5
    tracker.on_step(loop, Share(), None)
    loop.progress, loop.validated = Progress(step=6), None
    tracker.on_step(loop, Share(), None)
    tracker.on_end(loop)
    assert [(event.step, event.value) for event in tensorboard_of(tmp_path).Scalars("validation_loss")] == [(5, 1.5)]


def test_gates_are_drawn_at_the_first_logged_step_the_last_and_some_between(tmp_path: Path) -> None:
    loop = loop_at(tmp_path, 0)
    drawn = [step for step in range(1, 101) if pictures({**METRICS, "step": step}, loop)]
    assert drawn == [1, 1 + PICTURE_EVERY, 1 + 2 * PICTURE_EVERY, 1 + 3 * PICTURE_EVERY, 1 + 4 * PICTURE_EVERY, 100]
    assert pictures({"step": 1}, loop) == {}


def test_a_heat_map_is_a_small_picture_of_its_values() -> None:
    """Red where a gate is open one way, blue the other way; the axes start at the top left."""
    png = HeatMap("gates", [[1.0, -1.0]] * 28, range(28), (3, 7)).png()
    assert len(png) < 20_000
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    left, right = (picture.getpixel((x, 160)) for x in (100, 250))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > 2 * left[2]
    assert right[2] > 2 * right[0]


def test_the_starts_of_a_run_have_their_reasons() -> None:
    time_ = "2026-01-31T23:59:59.123+00:00"
    events: list[dict[str, Any]] = [
        {"time": time_, "event": "start"},
        {"time": time_, "event": "begin", "checkpoint": None, "workers": 4},
        {"time": time_, "event": "restart", "reason": "no rank moved"},
        {"time": time_, "event": "begin", "checkpoint": "checkpoints/step-00000005", "workers": 4},
        {"time": time_, "event": "begin", "checkpoint": "checkpoints/step-00000005", "workers": 2},
    ]
    assert [row[3] for row in starts_of(events).rows] == ["the first start", "no rank moved", "not known"]
    assert starts_of(events).rows[1][:3] == ("2026-01-31 23:59:59+00:00", "checkpoints/step-00000005", "4")


@pytest.mark.slow
def test_mlflow_that_takes_no_files_goes_on_with_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow-files").write_text("a file where a folder should be")
    track("mlflow", tmp_path, 1, 2, 1 + PICTURE_EVERY)
    _, run = mlflow_of(tmp_path)
    assert run.data.metrics["step"] == 1 + PICTURE_EVERY
    told = capsys.readouterr().out
    assert told.count("mlflow gets metrics, and no images and tables: ") == 1
    assert "fails" not in told


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
    monkeypatch.setattr(delivery, "KEPT", 2)
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

    monkeypatch.setattr(delivery, "CLOSE_S", 0.2)
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
    thread = tracker._delivery
    assert thread is not None
    until = time.monotonic() + 30
    while (thread._lines or not list(tmp_path.glob("wandb/offline-run-*"))) and time.monotonic() < until:
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
