"""Checkpoints of two ranks whose storage fails and heals; the ledger follows them."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist

from cli_ray.config import RunConfig
from cli_ray.data import ledger
from cli_ray.errors import RunFailedError
from cli_ray.train.callbacks import checkpointer
from cli_ray.train.callbacks.checkpointer import Checkpointer
from cli_ray.train.callbacks.ledger import Ledger
from cli_ray.train.checkpoint import write
from cli_ray.train.checkpoint.files import Progress, complete_checkpoints
from cli_ray.train.checkpoint.write import damage
from cli_ray.train.loop import TrainLoop
from cli_ray.train.run_folder import RunFolder
from tests.train.ranks import on_ranks

CONFIG = RunConfig.model_validate(
    {
        "name": "run",
        "model": {"checkpoint": "tiny"},
        "data": {"sources": [{"path": "a.tar"}]},
        "checkpoint": {"every": 2, "keep_last": 2},
    }
)


class Engine:
    """As much of an engine as the checkpointer uses."""

    deepspeed = None

    def all_reduce(self, values: torch.Tensor) -> torch.Tensor:
        total = values.to(torch.float64)
        dist.all_reduce(total)
        return total


@dataclass
class Loop:
    """As much of a loop."""

    folder: RunFolder
    total_steps: int
    rank: int = field(default_factory=dist.get_rank)
    world_size: int = field(default_factory=dist.get_world_size)
    config: RunConfig = CONFIG
    engine: Engine = field(default_factory=Engine)
    stream: Any = field(default_factory=lambda: SimpleNamespace(steps_per_epoch=3, state_dict=lambda: {"lanes": 2}))
    heartbeat: Any = field(default_factory=lambda: SimpleNamespace(at=lambda *place: None))
    progress: Progress = field(default_factory=Progress)
    validation_loss: float | None = None
    pause: str | None = None
    votes: dict[str, int] = field(default_factory=dict)


def train(folder: str, first: int, last: int, broken: list[int]) -> str:
    """Steps `first < step <= last` of one sample a rank; the storage fails for the checkpoints of some. What is said.

    Every rank waits for its writing to end before it votes, so that each checkpoint is settled a step later.
    """
    vars(checkpointer)["take_snapshot"] = lambda engine: {f"deepspeed/rank{dist.get_rank()}.pt": torch.ones(3)}
    write.PAUSE_S = 0.0
    ledger = Ledger()
    one = Checkpointer(ledger)
    loop = Loop(RunFolder(folder), last, progress=Progress(step=first))
    given = cast(TrainLoop, loop)
    ledger.on_start(given)
    one.on_start(given)
    try:
        for step in range(first + 1, last + 1):
            _ = one._background.fault  # waits
            _set_storage(Path(folder), step in broken)
            votes = one.vote(given)
            sums = loop.engine.all_reduce(torch.tensor(list(votes.values())))
            loop.votes = dict(zip(votes, map(int, sums), strict=True))
            loop.progress = Progress(step=step)
            share: Any = SimpleNamespace(ids=[f"a.tar#{step}{loop.rank}"], sources=["a.tar"], bad=[])
            for callback in (ledger, one):
                callback.on_step(given, share, None)
        one.on_end(given)
    except RunFailedError as error:
        return str(error)
    return ""


def _set_storage(run: Path, broken: bool) -> None:
    """Puts a file in the place of the folder of checkpoints, or takes it away."""
    dist.barrier()
    if dist.get_rank() == 0:
        folder, aside = run / "checkpoints", run / "aside"
        if broken and not folder.is_file():
            if folder.exists():
                folder.rename(aside)
            folder.write_text("")
        elif not broken and folder.is_file():
            folder.unlink()
            if aside.exists():
                aside.rename(folder)
    dist.barrier()


def steps_of(run: Path) -> list[int]:
    return [checkpoint.progress.step for checkpoint in complete_checkpoints(RunFolder(str(run)))]


@pytest.mark.slow
def test_training_outlives_storage_that_fails_and_loses_no_row_of_the_record(tmp_path: Path) -> None:
    assert on_ranks(2, train, str(tmp_path), 0, 9, [4, 5]) == ["", ""]
    folder = RunFolder(str(tmp_path))
    assert steps_of(tmp_path) == [8, 9]
    for checkpoint in complete_checkpoints(folder):
        assert set(checkpoint.files) == {"deepspeed/rank0.pt", "deepspeed/rank1.pt"}
        assert damage(folder, checkpoint, checkpoint.files) is None
        assert checkpoint.config["name"] == "run"
        assert "deepspeed" in checkpoint.versions
    events = folder.read("events.jsonl") or ""
    assert events.count('"checkpoint failed", "step": 4') == 1
    assert events.count('"event": "checkpoint", ') == 4
    rows = [row for step in ledger.steps(folder) for row in ledger.read(folder, step).to_pylist()]
    assert [row["id"] for row in rows] == [f"a.tar#{step}{rank}" for step in range(1, 10) for rank in range(2)]


@pytest.mark.slow
def test_a_run_whose_last_checkpoint_cannot_be_written_says_so_on_every_rank(tmp_path: Path) -> None:
    first, second = on_ranks(2, train, str(tmp_path), 0, 4, [4])
    assert first == second
    assert "the last checkpoint, checkpoints/step-00000004" in first
    assert "could not be written: [Errno" in first
    _put_back(tmp_path)
    assert steps_of(tmp_path) == [2]


def _put_back(run: Path) -> None:
    (run / "checkpoints").unlink()
    (run / "aside").rename(run / "checkpoints")


def test_the_record_follows_the_checkpoint_that_a_run_goes_on_from(tmp_path: Path) -> None:
    on_ranks(2, train, str(tmp_path), 0, 4, [])
    on_ranks(2, train, str(tmp_path), 2, 5, [])
    folder = RunFolder(str(tmp_path))
    assert ledger.steps(folder) == [2, 4, 5]
    rows = [row for step in ledger.steps(folder) for row in ledger.read(folder, step).to_pylist()]
    assert [row["id"] for row in rows] == [f"a.tar#{step}{rank}" for step in range(1, 6) for rank in range(2)]
    assert [(row["epoch"], row["epoch_step"]) for row in rows[::2]] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
