"""Writes checkpoints every n steps, at the end and before a pause, and removes those that are not to be kept.

On every rank; the files themselves are `checkpoint/write`'s.
"""

import time
from functools import partial

import pyarrow as pa
import torch

from cli_ray.config import RunConfig
from cli_ray.data import ledger
from cli_ray.data.share import Share
from cli_ray.errors import StorageError
from cli_ray.text import duration, say
from cli_ray.train.callbacks.evaluations import awaited
from cli_ray.train.callbacks.ledger import Ledger
from cli_ray.train.checkpoint.files import Checkpoint, complete_checkpoints, to_delete
from cli_ray.train.checkpoint.write import ATTEMPTS, Background, Snapshot, commit, take_snapshot, write_shards
from cli_ray.train.environment import versions
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import RunFolder

OTHER_RANK = "the storage of another rank failed"


class Checkpointer(Callback):
    """Runs on every rank; stands after validation in the list, so that the loss is known.

    Each rank copies its state and writes the copy in the background. By a vote all know when the last has, and rank 0
    then marks the checkpoint as complete. A checkpoint that cannot be written is reported and removed, and training
    goes on.

    Args:
        ledger: of the samples of each step, which is written with each checkpoint; None without it.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._unwritten: list[pa.Table] = []
        """What is still to be written of the ledger, on rank 0."""

    def on_start(self, loop: TrainLoop) -> None:
        self._background = Background()
        self._pending: Checkpoint | None = None
        self._begun = 0.0
        """When the pending checkpoint was begun, by the monotonic clock."""
        self._reason = OTHER_RANK
        """Why the newest checkpoint that could not be written was not."""

    def vote(self, loop: TrainLoop) -> dict[str, int]:
        ended = self._pending is not None and not self._background.busy
        failed = ended and self._background.fault is not None
        return {"written": int(ended and not failed), "unwritten": int(failed)}

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if self._pending and loop.votes["written"] + loop.votes["unwritten"] == loop.world_size:
            self._settle(loop, loop.votes["unwritten"])
        step = loop.progress.step
        if step % loop.config.checkpoint.every == 0 or step == loop.total_steps or loop.pause:
            loop.heartbeat.at("checkpoint")
            if loop.rank == 0 and self._background.busy:
                say(f"step {step} waits for the checkpoint before to be written: raise checkpoint.every")
            self._wait(loop)
            self._save(loop)

    def on_end(self, loop: TrainLoop) -> None:
        pending = self._pending
        unwritten = self._wait(loop) + self._ranks_with_fault(loop)  # the second waits for the mark
        if pending and unwritten:
            raise StorageError(
                f"the last checkpoint, {pending.name} of {loop.folder.uri}, could not be written: "
                f"{self._background.fault or self._reason}. Mend the storage, then the same command goes on from the "
                "one before"
            )

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        self._background.close()

    def _save(self, loop: TrainLoop) -> None:
        self._report_fault(loop, "the checkpoint before")
        self._begun = time.monotonic()
        self._pending = Checkpoint(
            progress=loop.progress,
            stream=loop.stream.state_dict(),
            world_size=loop.world_size,
            zero_stage=loop.config.train.zero_stage,
            validation_loss=loop.validation_loss,
            versions=versions(),
            config=loop.config.model_dump(mode="json"),
        )
        rows = self._ledger.take(loop) if self._ledger else None
        if rows is not None:
            self._unwritten.append(rows)
        snapshot = take_snapshot(loop.engine.deepspeed)
        self._background.start(partial(self._write, loop.folder, self._pending, loop.rank, snapshot))

    def _write(self, folder: RunFolder, checkpoint: Checkpoint, rank: int, snapshot: Snapshot) -> None:
        """In the background, perhaps several times."""
        if self._unwritten:
            ledger.write(folder, checkpoint.progress.step, ledger.merge(self._unwritten))
            self._unwritten = []
        write_shards(folder, checkpoint.name, rank, snapshot)

    def _wait(self, loop: TrainLoop) -> int:
        """Waits until the pending checkpoint is written on every rank; on how many it could not be."""
        if self._pending is None:
            return 0
        unwritten = self._ranks_with_fault(loop)
        self._settle(loop, unwritten)
        return unwritten

    def _ranks_with_fault(self, loop: TrainLoop) -> int:
        fault = self._background.fault is not None
        return int(loop.engine.all_reduce(torch.tensor([fault]))[0])

    def _settle(self, loop: TrainLoop, unwritten: int) -> None:
        """Every rank's writing has ended: marks the checkpoint as complete, or removes what there is of it."""
        assert self._pending is not None
        pending, self._pending = self._pending, None
        self._reason = OTHER_RANK
        self._report_fault(loop, pending.name)
        if loop.rank == 0 and unwritten:
            self._background.start(partial(_abandon, loop.folder, pending, self._reason))
        elif loop.rank == 0:
            self._background.start(partial(_complete, loop.folder, loop.config, pending, self._begun))

    def _report_fault(self, loop: TrainLoop, what: str) -> None:
        fault = self._background.fault
        if fault is not None:
            say(f"{what} could not be written by rank {loop.rank} in {ATTEMPTS} attempts: {fault}; training goes on")
            self._reason = str(fault)
            self._background.forget()


def _complete(folder: RunFolder, config: RunConfig, checkpoint: Checkpoint, begun: float) -> None:
    commit(folder, checkpoint)
    kept = config.checkpoint
    for old in to_delete(complete_checkpoints(folder), kept.keep_last, kept.keep_best):
        if not awaited(old.progress.step, config, folder):
            folder.delete(old.name)
    seconds = round(time.monotonic() - begun, 3)
    folder.event("checkpoint", step=checkpoint.progress.step, path=checkpoint.name, seconds=seconds)
    say(f"{checkpoint.name} was written in {duration(seconds)}")


def _abandon(folder: RunFolder, checkpoint: Checkpoint, reason: str) -> None:
    if folder.exists(checkpoint.name):
        folder.delete(checkpoint.name)
    folder.event("checkpoint failed", step=checkpoint.progress.step, path=checkpoint.name, reason=reason)
