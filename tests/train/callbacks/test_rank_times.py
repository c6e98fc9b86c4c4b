"""What ranks.jsonl says of the ranks, and what the loop says of the time between steps."""

import json
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from cli_ray.costs.flops import Work
from cli_ray.data.reads import Reads
from cli_ray.data.share import Share
from cli_ray.train.callbacks.log import MetricsFile
from cli_ray.train.callbacks.rank_times import RankTimes
from cli_ray.train.collective_clock import HostClock
from cli_ray.train.engine import StepResult
from cli_ray.train.loop import LEAST_S, Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import RANKS, RunFolder
from tests.train.callbacks.test_callbacks import CONFIG, loop_at
from tests.train.callbacks.test_slow_rank import table


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / RANKS).read_text().splitlines()]


def log_steps(callback: RankTimes, folder: Path, waits: list[float]) -> TrainLoop:
    """Logs steps in which rank 1 waits so long for data."""
    loop = loop_at(folder, len(waits))
    for wait in waits:
        loop.ranks = table(data_wait_ms=[0.0, wait], step_ms=[100.0, 100.0], rank_wait_ms=[40.0, 0.0])
        callback.on_step(loop, Share(), {})
    return loop


def test_a_line_has_the_means_of_each_rank_without_the_first_step(tmp_path: Path) -> None:
    callback = RankTimes()
    callback.on_start(loop_at(tmp_path, 0))
    loop = log_steps(callback, tmp_path, [900.0, 10.0, 20.0])
    callback.on_step(loop, Share(), None)  # a step that is not logged
    assert not (tmp_path / RANKS).exists()
    callback.on_end(loop)
    [line] = lines_of(tmp_path)
    assert (line["step"], line["steps"], line["data_wait_ms"]) == (3, 2, [0.0, 15.0])
    assert (line["compute_ms"], line["rank_wait_ms"]) == ([60.0, 100.0], [40.0, 0.0])


def test_lines_come_every_half_minute_and_before_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0, 41.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    callback = RankTimes()
    callback.on_start(loop_at(tmp_path, 0))
    loop = log_steps(callback, tmp_path, [1.0, 2.0, 3.0, 4.0])
    callback.on_error(loop, RuntimeError())
    assert [(line["steps"], line["data_wait_ms"]) for line in lines_of(tmp_path)] == [(2, [0, 2.5]), (1, [0, 4])]


class Busy(Callback):
    """Takes twice what the least is that is told."""

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        until = time.perf_counter() + 2 * LEAST_S
        while time.perf_counter() < until:
            pass


def loop_of(callbacks: list[Callback], folder: Path, total_steps: int) -> TrainLoop:
    """A loop whose engine trains nothing, and which logs every second step."""
    log = CONFIG.log.model_copy(update={"every": 2})
    config = CONFIG.model_copy(update={"log": log, "train": CONFIG.train.model_copy(update={"precision": "fp32"})})
    module = SimpleNamespace(config=SimpleNamespace(image_token_id=3))
    engine = SimpleNamespace(
        config=config,
        layers=((), ()),
        device=torch.device("cpu"),
        flops=Work(),
        clock=HostClock(),
        deepspeed=SimpleNamespace(optimizer=SimpleNamespace(param_groups=[]), module=module),
        train_step=lambda *arguments: StepResult(
            [], 0.5, samples=2, tokens=10, bad_samples=0, shrunk_images=0, votes=[]
        ),
        all_reduce=lambda values, *_: values,
        gather=lambda values: values.unsqueeze(0),
    )
    return TrainLoop(
        config=config,
        engine=cast(Any, engine),
        stream=cast(Any, Steps()),
        folder=RunFolder(str(folder)),
        callbacks=callbacks,
        heartbeat=cast(Any, SimpleNamespace(step=0, at=lambda *_: None)),
        total_steps=total_steps,
        rank=0,
        world_size=1,
    )


class Steps:
    """As much of a stream as the loop looks at: steps without samples, of one slow shard."""

    epoch = 0
    shards = ("/data/a.tar", "/data/b.tar")

    def __iter__(self) -> Iterator[Share]:
        return repeat(Share())

    def awaited(self) -> str:
        return ""

    def take_reads(self) -> Reads:
        return Reads(reads=2, read_ms=30.0, slowest_read_ms=25.0, slowest_shard=1)


def test_what_callbacks_took_is_in_the_next_logged_line(tmp_path: Path) -> None:
    loop_of([MetricsFile(), Busy()], tmp_path, total_steps=5).fit()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    spent = {row["step"]: row.get("beside_ms/Busy", 0.0) for row in rows}
    assert spent[2] >= 2e3 * LEAST_S  # of step 1
    assert spent[4] >= 4e3 * LEAST_S  # of steps 2 and 3
    assert spent[5] < spent[4]
    slow = {"reads": 2, "read_ms": 15.0, "slowest_read_ms": 25.0, "slowest_shard": "/data/b.tar"}
    assert all(slow.items() <= row.items() for row in rows)
