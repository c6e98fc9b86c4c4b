"""Checkpoints of a run as files: what a checkpoint holds, which are there, which are kept.

A folder below `checkpoints/` holds DeepSpeed's files of each rank, a list of those files with their checksums per
rank, and progress.json, which is written last: a folder without it is half-written and never read. Called by all that
ask for checkpoints (`write`, `restore`, `export`, the evaluator, commands); needs neither torch nor Ray.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pyarrow import fs
from pydantic import BaseModel, ConfigDict, ValidationError

from cli_ray.train.run_folder import RunFolder

TAG = "deepspeed"
"""DeepSpeed's name for the folder of its files."""
MARKER = "progress.json"


class Progress(BaseModel):
    """Counters of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = 0
    """Optimiser steps done."""
    samples: int = 0
    """Samples trained on."""
    tokens: int = 0
    """Tokens trained on, image tokens included, padding not."""
    bad_samples: int = 0
    """Samples quarantined."""
    shrunk_images: int = 0
    """Images that the budget shrank."""

    def after_step(self, samples: int, tokens: int, bad_samples: int, shrunk_images: int) -> Self:
        """Progress after one more optimiser step."""
        return self.model_copy(
            update={
                "step": self.step + 1,
                "samples": self.samples + samples,
                "tokens": self.tokens + tokens,
                "bad_samples": self.bad_samples + bad_samples,
                "shrunk_images": self.shrunk_images + shrunk_images,
            }
        )


class FileSum(BaseModel):
    """What a written file must look like when it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    """Bytes."""
    sha256: str


class Checkpoint(BaseModel):
    """The content of progress.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    progress: Progress
    stream: dict[str, int]
    """The `state_dict` of the stream, the same on every rank."""
    world_size: int
    zero_stage: int
    validation_loss: float | None = None
    versions: dict[str, str] = {}
    """Of the packages that wrote it."""
    config: dict[str, Any] = {}
    """The resolved config of the run."""
    files: dict[str, FileSum] = {}
    """By path below the checkpoint's folder."""

    @property
    def name(self) -> str:
        """Its folder below the run folder."""
        return name_of(self.progress.step)


def name_of(step: int) -> str:
    """Folder of a checkpoint below the run folder."""
    return f"checkpoints/step-{step:08d}"


def complete_checkpoints(folder: RunFolder) -> list[Checkpoint]:
    """The checkpoints that were written to the end, oldest first."""
    return [entry for entry in marked(folder).values() if isinstance(entry, Checkpoint)]


def marked(folder: RunFolder) -> dict[str, Checkpoint | str]:
    """By name, oldest first, the checkpoints that have a marker, or why it cannot be read."""
    names = [f"checkpoints/{name}" for name in folder.names("checkpoints")]
    texts = {name: folder.read(f"{name}/{MARKER}") for name in names}
    return {name: _parsed(text) for name, text in texts.items() if text is not None}


def to_delete(checkpoints: Sequence[Checkpoint], keep_last: int, keep_best: int) -> list[Checkpoint]:
    """Those that are neither among the newest nor among those of lowest validation loss."""
    newest = sorted(checkpoints, key=lambda c: c.progress.step)[-keep_last:]
    scored = [c for c in checkpoints if c.validation_loss is not None]
    best = sorted(scored, key=lambda c: (c.validation_loss, c.progress.step))[:keep_best]
    return [c for c in checkpoints if c not in newest and c not in best]


@contextmanager
def read_from(folder: RunFolder, name: str) -> Iterator[Path]:
    """A local folder with the content of `name` of the run folder."""
    if folder.is_local:
        yield Path(folder.join(name))
        return
    with tempfile.TemporaryDirectory() as local:
        fs.copy_files(folder.join(name), local, source_filesystem=folder.fs)
        yield Path(local)


def total_steps(steps_per_epoch: int, epochs: float, max_steps: int | None) -> int:
    """Optimiser steps of a whole run."""
    steps = max(1, round(steps_per_epoch * epochs))
    return steps if max_steps is None else min(steps, max_steps)


def _parsed(text: str) -> Checkpoint | str:
    try:
        return Checkpoint.model_validate_json(text)
    except ValidationError as error:
        return f"{MARKER} is damaged, or of another version of cli_ray: {error.errors()[0]['msg']}"
