"""Which rank is named as slow, and that chance names nobody."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from cli_ray.data.share import Share
from cli_ray.train.callbacks.slow_rank import WINDOW, Culprit, SlowRank, Watch, culprit
from cli_ray.train.loop import TrainLoop
from cli_ray.train.rank_table import COLUMNS, RankTable
from tests.train.callbacks.test_callbacks import loop_at


def table(**columns: list[float]) -> RankTable:
    """With zeros in the columns that are not given."""
    zeros = [0.0] * len(next(iter(columns.values())))
    return RankTable(torch.tensor([columns.get(name, zeros) for name in COLUMNS], dtype=torch.float64).T)


def test_a_rank_with_a_slow_gpu_is_the_culprit() -> None:
    found = culprit(table(step_ms=[130, 130, 130], rank_wait_ms=[30, 0, 29], flops=[1e9, 1e9, 1e9]))
    assert found == Culprit(1, "compute")


def test_a_rank_with_slow_storage_is_the_culprit_though_the_others_wait_inside_the_step() -> None:
    found = culprit(table(data_wait_ms=[0, 60, 1], step_ms=[160, 100, 160], rank_wait_ms=[60, 0, 60], flops=[1, 1, 1]))
    assert found == Culprit(1, "data")


def test_a_rank_that_has_more_to_compute_is_none() -> None:
    """Such as one that serves two lanes where another serves one."""
    assert culprit(table(step_ms=[200, 200], rank_wait_ms=[0, 95], flops=[2e9, 1e9])) is None
    assert culprit(table(step_ms=[250, 250], rank_wait_ms=[0, 150], flops=[2e9, 1e9])) == Culprit(0, "compute")


def test_a_rank_alone_is_none() -> None:
    assert culprit(table(step_ms=[100], data_wait_ms=[50], flops=[1e9])) is None


@pytest.mark.parametrize("ranks", [2, 3, 8, 64])
def test_the_ordinary_variation_of_data_names_nobody(ranks: int) -> None:
    """Lengths as in the issue's corpus, three of ten steps with a wait for the window of one rank."""
    torch.manual_seed(0)
    watch = Watch()
    for _ in range(20 * WINDOW):
        flops = (torch.randn(ranks, 16) * 0.9).exp().sum(1)
        compute = flops * (1 + 0.05 * torch.randn(ranks)).clamp(min=0.5) * 10
        data = torch.zeros(ranks)
        data[torch.randint(ranks, (1,))] = 200 * float(torch.rand(()) < 0.3)
        columns = {"step_ms": compute.tolist(), "data_wait_ms": data.tolist(), "flops": flops.tolist()}
        assert watch.add(culprit(table(**columns))) is None


def test_a_slow_rank_is_named_once_an_episode() -> None:
    watch, slow = Watch(), Culprit(3, "compute")
    named = [watch.add(slow) for _ in range(3 * WINDOW)]
    assert [i for i, one in enumerate(named) if one] == [40]
    assert not any(watch.add(None) for _ in range(WINDOW))
    assert sum(watch.add(slow) == slow for _ in range(WINDOW)) == 1


def test_a_rank_that_is_slow_in_most_steps_is_named() -> None:
    watch, slow = Watch(), Culprit(3, "data")
    named = [watch.add(slow if step % 10 else None) for step in range(3 * WINDOW)]
    assert [one for one in named if one] == [slow]
    rarely = Watch()
    assert not any(rarely.add(slow if step % 4 else None) for step in range(3 * WINDOW))


def test_the_event_tells_rank_node_and_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = SlowRank()
    callback._nodes = ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]
    ranks = table(step_ms=[180, 180], rank_wait_ms=[80, 0], flops=[1, 1])
    for step in range(WINDOW):
        on_step(callback, loop_at(tmp_path, step), ranks)
    [event] = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {key: event[key] for key in ("event", "rank", "node", "part", "compute_ms", "compute_ms/median")} == {
        "event": "slow_rank",
        "rank": 1,
        "node": "bbbbbbbbbbbb",
        "part": "compute",
        "compute_ms": 180,
        "compute_ms/median": 100,
    }
    assert "rank 1 (node bbbbbbbb) was the slowest" in capsys.readouterr().out


def on_step(callback: SlowRank, loop: TrainLoop, ranks: RankTable) -> None:
    changed: Any = cast(SimpleNamespace, loop)
    changed.rank, changed.ranks = 0, ranks
    callback.on_step(loop, Share(), {})
