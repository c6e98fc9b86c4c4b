import json
import math
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli_ray.config import DataConfig, LogConfig, ModelConfig, RunConfig, SourceConfig
from cli_ray.data.sample import BadSample
from cli_ray.data.share import Cut, Share
from cli_ray.train.callbacks.log import Console, MetricsFile, step_line
from cli_ray.train.callbacks.quarantiner import Quarantiner
from cli_ray.train.callbacks.trackers import flatten
from cli_ray.train.checkpoint.files import Progress
from cli_ray.train.loop import TrainLoop
from cli_ray.train.run_folder import RunFolder
from tests.said import said

CONFIG = RunConfig(
    name="run",
    model=ModelConfig(checkpoint="tiny"),
    data=DataConfig(sources=(SourceConfig(path="x"),)),
    log=LogConfig(project="tests"),
)
METRICS: dict[str, Any] = {
    "step": 3,
    "epoch": 0,
    "samples": 24,
    "tokens": 900,
    "bad_samples": 2,
    "shrunk_images": 3,
    "loss": 1.5,
    "loss/tar": 1.25,
    "loss/text": math.nan,
    "lr/amp": 2e-4,
    "lr/llm": 1e-5,
    "grad_norm": 0.5,
    "tokens/s": 100.0,
    "samples/s": 8.0,
    "data_wait_ms": 4.0,
    "step_ms": 996.0,
    "peak_GiB": 0.25,
    "padding_share": 0.034,
    "packs": 16,
    "TFLOP/s": 412.3,
    "mfu": 0.4169,
    "compute_ms/median": 700.0,
    "compute_ms/max": 950.0,
    "compute_ms/rank": 3,
    "data_wait_ms/median": 3.9,
    "data_wait_ms/max": 4.0,
    "data_wait_ms/rank": 0,
    "rank_wait_ms/median": 296.0,
    "rank_wait_ms/max": 310.0,
    "rank_wait_ms/rank": 5,
    "gate_mean": [[0.1, 0.2]],
    "gate_max": [[0.3, -0.4]],
}


def loop_at(folder: Path, step: int) -> TrainLoop:
    """As much of a loop as callbacks that only write look at."""
    engine = SimpleNamespace(layers=((2, 5), (1,)))
    stream = SimpleNamespace(epoch_step=1)
    loop = SimpleNamespace(
        config=CONFIG,
        folder=RunFolder(str(folder)),
        progress=Progress(step=step),
        engine=engine,
        stream=stream,
        total_steps=100,
        validated=None,
        results=[],
    )
    return cast(TrainLoop, loop)


def test_the_step_line_is_plain_and_has_units() -> None:
    assert step_line(METRICS, total_steps=5000, left_s=7500) == (
        "step 3/5,000 | loss 1.5000 | grad 0.500 | lr 2.00e-04 | 100 tokens/s | MFU 41.7% | "
        "waits: data 0%, ranks 30% | 2 h 05 min left | 2 quarantined | 3 images shrunk"
    )


def test_the_step_line_has_only_what_there_is_to_say() -> None:
    line = step_line({**METRICS, "mfu": 0.5, "bad_samples": 0, "shrunk_images": 0}, total_steps=3, left_s=0)
    assert line.endswith("| 100 tokens/s | MFU 50.0% | waits: data 0%, ranks 30%")
    line = step_line({name: value for name, value in METRICS.items() if name != "mfu"}, total_steps=3, left_s=0)
    assert "| 100 tokens/s | waits: " in line


def test_the_time_left_goes_by_the_pace_of_the_last_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that goes on at step 100 takes 100 s for a step, then 1 s."""
    seconds = iter([0.0, 100.0, *range(101, 141)])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    console, loop = Console(), loop_at(tmp_path, step=100)
    loop.total_steps = 201
    console.on_start(loop)
    for step in range(101, 142):
        loop.progress = Progress(step=step)
        console.on_step(loop, Share(), {**METRICS, "step": step})
    lines = said(capsys.readouterr().out)
    assert "| 2 h 46 min left" in lines[0]
    assert "| 1 min 00 s left" in lines[-1]


def test_metrics_file_drops_the_steps_that_are_redone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3, 4)) + '{"step": 5, "lo')
    callback, loop = MetricsFile(), loop_at(tmp_path, step=2)
    callback.on_start(loop)
    callback.on_step(loop, Share(), METRICS)
    callback.on_step(loop, Share(), None)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert datetime.fromisoformat(lines[-1]["time"]).utcoffset() == timedelta(0)
    assert lines[-1]["loss/text"] is None
    assert lines[-1]["gate_max"] == [[0.3, -0.4]]


def test_a_bad_sample_that_comes_again_to_another_rank_is_written_once(tmp_path: Path) -> None:
    bad = BadSample("a#1", "a", "a.tar", "broken image", "cut")
    for rank in (1, 0):
        callback = Quarantiner()
        loop = loop_at(tmp_path, step=2)
        loop.rank = rank
        callback.on_start(loop)
        callback.on_step(loop, Share([Cut([bad], (0, 0))]), None)
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == ["rank1.jsonl"]


def test_flat_gates_are_named_by_their_layers() -> None:
    flat = flatten(METRICS, ((2, 5), (1,)))
    assert flat["gate_max/v5_d1"] == -0.4
    assert flat["gate_mean/v2_d1"] == 0.1
    assert all(isinstance(value, int | float) for value in flat.values())
