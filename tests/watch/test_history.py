"""The history of a run, from folders that are whole, half-written, left behind, or of a run that still goes on."""

import json
import os
import time
from pathlib import Path

import pytest
from pyarrow import fs

from cli_ray.config import RunConfig
from cli_ray.storage import folder as folder_module
from cli_ray.train.run_folder import LEASE, RunFolder
from cli_ray.watch.history import RunState, read_run

CONFIG = RunConfig.model_validate(
    {
        "name": "a",
        "model": {"family": "llava", "checkpoint": "tiny"},
        "data": {"sources": [{"path": "/data/x.parquet"}]},
    }
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(str(tmp_path / "a"))
    folder.write("config.json", json.dumps(CONFIG.model_dump(mode="json", exclude={"runs_dir"})))
    return folder


def state(folder: RunFolder) -> RunState:
    return read_run(folder.uri).state


def log(folder: RunFolder, *steps: int) -> None:
    folder.append("metrics.jsonl", [json.dumps({"step": step, "loss": 1.0}) for step in steps])


def test_a_run_whose_driver_renews_its_lease_is_running(run: RunFolder) -> None:
    run.write(LEASE, "{}")
    assert (state(run).name, state(run).step) == ("running", None)
    run.event("start")
    log(run, 1, 2, 3)
    assert (state(run).name, state(run).step, state(run).reason) == ("running", 3, "")
    run.event("waiting", reason="rank 1 waits for data")
    assert state(run).reason == "rank 1 waits for data"
    run.event("checkpoint", step=3, path="checkpoints/step-3")
    assert state(run).reason == ""


def test_a_run_whose_lease_is_old_is_silent_since_its_last_sign(run: RunFolder) -> None:
    run.event("start")
    log(run, 7)
    run.write(LEASE, "{}")
    hour_ago = time.time() - 3600
    for name in ("events.jsonl", "metrics.jsonl", LEASE):
        os.utime(run.join(name), (hour_ago, hour_ago))
    found = state(run)
    assert (found.name, found.step) == ("silent", 7)
    assert found.reason.startswith("no sign of life for 1:00:0")
    assert found.time.startswith(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(hour_ago)))


def test_a_driver_that_gave_back_its_lease_and_said_nothing_is_silent(run: RunFolder) -> None:
    run.event("start")
    run.event("begin", checkpoint=None, workers=2)
    assert (state(run).name, state(run).reason) == (
        "silent",
        "its driver ended without a word; the same command goes on",
    )


@pytest.mark.parametrize(
    ("event", "name", "reason"),
    [
        ({"kind": "end", "step": 30}, "ended", ""),
        ({"kind": "end", "error": "step 1 failed on rank 0"}, "failed", "step 1 failed on rank 0"),
        (
            {"kind": "stopped", "step": 12, "signal": "SIGTERM"},
            "stopped",
            "by SIGTERM; the same command goes on",
        ),
    ],
)
def test_the_last_word_of_a_driver_is_the_state_until_a_later_start(
    run: RunFolder, event: dict[str, str], name: str, reason: str
) -> None:
    run.event("start")
    run.event(**event)
    run.event("evaluation failed", step=12, reason="no room")
    assert (state(run).name, state(run).reason) == (name, reason)
    assert state(run).time == run.events()[1]["time"]
    run.write(LEASE, "{}")
    assert state(run).name == "running"
    run.event("resume")
    assert state(run).name == "running"


def test_a_folder_with_a_config_alone_has_not_started(run: RunFolder) -> None:
    history = read_run(run.uri)
    assert history.state == RunState("not started", "", "", None)
    assert history.config == CONFIG.model_copy(update={"runs_dir": history.config.runs_dir if history.config else ""})
    assert (history.events, list(history.metrics()), history.config_error) == ([], [], "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "it has no config.json"),
        ('{"name": "a", "mod', "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"name": "a"}', "has no section 'injection'"),
        ('{"name": "a", "injection": {}, "data": {"sources": 3}, "train": {}}', "config.json: data.sources"),
    ],
)
def test_a_config_that_cannot_be_read_leaves_the_rest_of_the_history(
    tmp_path: Path, text: str | None, error: str
) -> None:
    folder = RunFolder(str(tmp_path))
    if text is not None:
        folder.write("config.json", text)
    folder.event("end", step=4)
    history = read_run(folder.uri)
    assert history.config is None
    assert error in history.config_error
    assert (history.state.name, history.state.step) == ("ended", 4)


def test_lines_that_were_cut_are_passed_over(run: RunFolder) -> None:
    log(run, 1, 2)
    for name in ("metrics.jsonl", "events.jsonl"):
        with Path(run.join(name)).open("a") as file:
            file.write('{"step": 3, "time": "2026')
    history = read_run(run.uri)
    assert [row["step"] for row in history.metrics()] == [1, 2]
    assert (history.events, history.state.step) == ([], 2)


def test_a_run_in_an_object_store_has_the_same_history(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.event("end", step=9)
    log(run, 8, 9)
    bucket = fs.SubTreeFileSystem(str(Path(run.path).parent), fs.LocalFileSystem())
    monkeypatch.setattr(folder_module, "resolve", lambda uri: (bucket, uri.removeprefix("s3://")))
    history = read_run("s3://a")
    assert (history.state.name, history.state.step) == ("ended", 9)
    assert [row["step"] for row in history.metrics()] == [8, 9]
    assert history.config is not None
