"""Records in `trained/` which samples each step took, with every checkpoint."""

from typing import TYPE_CHECKING

import pyarrow as pa
import torch.distributed as dist

from cli_ray.data import ledger
from cli_ray.data.collate import MicroBatch
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class Ledger(Callback):
    """Runs on every rank. Stands before the checkpointer: a file without its checkpoint is removed on resume."""

    def __init__(self) -> None:
        self._rows: list[pa.Table] = []

    def on_start(self, loop: "TrainLoop") -> None:
        if loop.rank == 0:
            ledger.truncate(loop.folder, loop.progress.step)

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        step = loop.progress.step
        self._rows.append(ledger.entries(step, loop.stream.steps_per_epoch, loop.rank, batches))
        if step % loop.config.checkpoint.every and step != loop.total_steps and not loop.pause:
            return
        ranks: list[pa.Table] | None = [None] * loop.world_size if loop.rank == 0 else None
        dist.gather_object(self.take(), ranks)
        if ranks is not None:
            ledger.write(loop.folder, step, ledger.merge(ranks))

    def take(self) -> pa.Table:
        """This rank's rows since the last call, which are then forgotten here."""
        rows, self._rows = self._rows, []
        return ledger.merge(rows)
