"""Checkpoints of a run: DeepSpeed shards per rank, RNG per rank, and progress.json written last.

A folder without progress.json is half-written and never read.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pyarrow import fs
from pydantic import BaseModel, ConfigDict

from cli_ray.train import universal
from cli_ray.train.folder import RunFolder
from cli_ray.train.progress import Progress

TAG = "deepspeed"


class Checkpoint(BaseModel):
    """The content of progress.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    progress: Progress
    world_size: int
    lanes: int
    zero_stage: int
    validation_loss: float | None = None

    @property
    def name(self) -> str:
        """Its folder below the run folder."""
        return f"checkpoints/step-{self.progress.step:08d}"


def complete_checkpoints(folder: RunFolder) -> list[Checkpoint]:
    """The checkpoints that were written to the end, oldest first."""
    texts = [folder.read(f"checkpoints/{name}/progress.json") for name in folder.names("checkpoints")]
    return [Checkpoint.model_validate(json.loads(text)) for text in texts if text is not None]


def to_delete(checkpoints: Sequence[Checkpoint], keep_last: int, keep_best: int) -> list[Checkpoint]:
    """Those that are neither among the newest nor among those of lowest validation loss."""
    newest = sorted(checkpoints, key=lambda c: c.progress.step)[-keep_last:]
    scored = [c for c in checkpoints if c.validation_loss is not None]
    best = sorted(scored, key=lambda c: (c.validation_loss, c.progress.step))[:keep_best]
    return [c for c in checkpoints if c not in newest and c not in best]


def save(folder: RunFolder, checkpoint: Checkpoint, engine: Any) -> None:
    """Writes a checkpoint; called by every rank.

    Args:
        engine: the DeepSpeed engine.
    """
    name, rank = checkpoint.name, dist.get_rank()
    if rank == 0 and folder.exists(name):
        folder.delete(name)
    dist.barrier()
    with _written_to(folder, name) as local:
        engine.save_checkpoint(str(local), tag=TAG, exclude_frozen_parameters=True)
        torch.save(_rng_state(), local / f"rng-rank{rank}.pt")
    dist.barrier()
    if rank == 0:
        folder.write(f"{name}/progress.json", checkpoint.model_dump_json(indent=2))


def load(folder: RunFolder, checkpoint: Checkpoint, engine: Any) -> None:
    """Restores weights and optimiser states, and the RNG of as many workers; called by every rank."""
    universal.sweep(folder)
    if checkpoint.zero_stage and checkpoint.world_size != dist.get_world_size():
        universal.load(folder, checkpoint.name, TAG, engine)
        return
    with read_from(folder, checkpoint.name) as local:
        engine.load_checkpoint(str(local), tag=TAG, load_module_strict=False)
        rng = local / f"rng-rank{dist.get_rank()}.pt"
        if rng.exists():
            _restore_rng(torch.load(rng, weights_only=True))


@contextmanager
def _written_to(folder: RunFolder, name: str) -> Iterator[Path]:
    """A local folder whose content ends up in `name` of the run folder."""
    if folder.is_local:
        path = Path(folder.join(name))
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory() as local:
        yield Path(local)
        fs.copy_files(local, folder.join(name), destination_filesystem=folder.fs)


@contextmanager
def read_from(folder: RunFolder, name: str) -> Iterator[Path]:
    """A local folder with the content of `name` of the run folder."""
    if folder.is_local:
        yield Path(folder.join(name))
        return
    with tempfile.TemporaryDirectory() as local:
        fs.copy_files(folder.join(name), local, source_filesystem=folder.fs)
        yield Path(local)


def _rng_state() -> dict[str, Any]:
    """The generators that dropout draws from; nothing else in a step draws."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
