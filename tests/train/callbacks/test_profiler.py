"""Traces of chosen steps."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyarrow import fs

from cli_ray.data.share import Share
from cli_ray.storage import folder as storage
from cli_ray.train.callbacks.profiler import Profiler
from cli_ray.train.checkpoint.files import Progress
from cli_ray.train.loop import TrainLoop
from cli_ray.train.run_folder import RunFolder
from tests.train.callbacks.test_callbacks import loop_at
from tests.train.ranks import on_ranks
from tests.train.scenario import Case, ScenarioRun

STEPS = 4


def trace(run: str, starts: list[list[int]]) -> None:
    """Trains over the given steps, a start each, with steps 2 and 3 to be traced."""
    trained = ScenarioRun(Case(zero_stage=2))
    for steps in starts:
        profiler = Profiler(2, 3)
        loop = cast(TrainLoop, SimpleNamespace(folder=RunFolder(run), rank=0, total_steps=STEPS, pause=None))
        loop.progress = Progress(step=steps[0] - 1)
        profiler.on_start(loop)
        for step in steps:
            trained.step(step - 1)
            loop.progress = Progress(step=step)
            profiler.on_step(loop, Share(), None)
        profiler.on_end(loop)


@pytest.mark.slow
def test_a_trace_has_the_forward_and_backward_passes_of_its_steps(tmp_path: Path) -> None:
    on_ranks(1, trace, str(tmp_path), [[1, 2, 3, 4]])
    events = events_of(tmp_path / "profile/steps-2-3/rank-0.json.gz")
    spans = {event["name"]: event for event in events if event["name"].startswith("step ") and event["ph"] == "X"}
    assert set(spans) == {"step 2", "step 3"}
    for span in spans.values():
        within = {event["name"] for event in events if event["ph"] == "X" and is_within(event, span)}
        assert {"aten::addmm", "aten::convolution", "AddmmBackward0", "ConvolutionBackward0"} <= within


@pytest.mark.slow
def test_steps_that_are_done_again_are_traced_again(tmp_path: Path) -> None:
    on_ranks(1, trace, str(tmp_path), [[1, 2], [2, 3, 4]])
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == ["steps-2-2", "steps-2-3"]
    again = events_of(tmp_path / "profile/steps-2-3/rank-0.json.gz")
    assert {"step 2", "step 3"} <= {event["name"] for event in again}


def events_of(path: Path) -> list[dict[str, Any]]:
    """Of a trace in Chrome's format."""
    events: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return events


def is_within(event: dict[str, Any], span: dict[str, Any]) -> bool:
    """Whether it began in the span."""
    return bool(span["ts"] <= event["ts"] <= span["ts"] + span["dur"])


def test_a_run_in_an_object_store_keeps_its_traces_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(storage, "resolve", lambda uri: (bucket, uri.removeprefix("s3://")))
    traced(RunFolder("s3://bucket/run"))
    assert events_of(tmp_path / "bucket/run/profile/steps-3-3/rank-0.json.gz")


def test_a_trace_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "profile").write_text("in the way")
    traced(RunFolder(str(tmp_path)))
    assert "profile/steps-3-3/rank-0.json.gz cannot be written by rank 0" in capsys.readouterr().out


def traced(folder: RunFolder) -> None:
    """Traces a step of nothing."""
    profiler, loop = Profiler(3, 3), loop_at(Path("nowhere"), step=2)
    loop.folder, loop.rank, loop.total_steps, loop.pause = folder, 0, STEPS, None
    profiler.on_start(loop)
    loop.progress = Progress(step=3)
    profiler.on_step(loop, Share(), None)


def test_a_run_that_pauses_keeps_the_trace_of_the_steps_before(tmp_path: Path) -> None:
    profiler, loop = Profiler(3, 4), loop_at(tmp_path, step=2)
    loop.rank, loop.total_steps, loop.pause = 0, STEPS, None
    profiler.on_start(loop)
    loop.progress, loop.pause = Progress(step=3), "stopped"
    profiler.on_step(loop, Share(), None)
    profiler.on_end(loop)
    names = {event["name"] for event in events_of(tmp_path / "profile/steps-3-3/rank-0.json.gz")}
    assert {"step 3", "step 4"} & names == {"step 3"}


def test_an_error_in_a_traced_step_ends_the_trace(tmp_path: Path) -> None:
    profiler, loop = Profiler(3, 4), loop_at(tmp_path, step=2)
    loop.rank, loop.total_steps, loop.pause = 0, STEPS, None
    profiler.on_start(loop)
    profiler.on_error(loop, RuntimeError())
    assert not (tmp_path / "profile").exists()
    traced(RunFolder(str(tmp_path)))
    assert (tmp_path / "profile/steps-3-3/rank-0.json.gz").exists()
