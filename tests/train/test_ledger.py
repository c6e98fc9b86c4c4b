"""The ledger of all ranks becomes one file at each checkpoint; files of steps that are redone go."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch.distributed as dist

from cli_ray.data import ledger
from cli_ray.data.folder import Folder
from cli_ray.train.callbacks.ledger import Ledger
from tests.train.ranks import on_ranks


def train(folder: str, first: int, last: int) -> None:
    """Steps `first < step <= last` of one sample a rank, with a checkpoint every 2 steps."""
    rank, callback = dist.get_rank(), Ledger()
    config = SimpleNamespace(checkpoint=SimpleNamespace(every=2))
    loop: Any = SimpleNamespace(config=config, rank=rank, world_size=dist.get_world_size(), folder=Folder(folder))
    loop.stream, loop.total_steps, loop.pause = SimpleNamespace(steps_per_epoch=3), 5, None
    loop.progress = SimpleNamespace(step=first)
    callback.on_start(loop)
    for step in range(first + 1, last + 1):
        loop.progress = SimpleNamespace(step=step)
        batch = SimpleNamespace(ids=[f"a.tar#{step}{rank}"], sources=["a"], bad=[])
        callback.on_step(loop, [cast(Any, batch)], None)


def test_one_file_for_each_checkpoint_also_after_a_restart(tmp_path: Path) -> None:
    on_ranks(2, train, str(tmp_path), 0, 4)
    on_ranks(2, train, str(tmp_path), 2, 5)
    folder = Folder(str(tmp_path))
    assert ledger.steps(folder) == [2, 4, 5]
    rows = [row for step in ledger.steps(folder) for row in ledger.read(folder, step).to_pylist()]
    assert [row["id"] for row in rows] == [f"a.tar#{step}{rank}" for step in range(1, 6) for rank in range(2)]
    assert [(row["epoch"], row["epoch_step"]) for row in rows[::2]] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
