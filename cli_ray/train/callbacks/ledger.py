"""Notes which samples each step took, for the ledger in `trained/` of the run folder (`log.ids`)."""

import pyarrow as pa
import torch.distributed as dist

from cli_ray.data import ledger
from cli_ray.data.share import Share
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics


class Ledger(Callback):
    """Runs on every rank; stands before the checkpointer, which writes the rows with each checkpoint."""

    def __init__(self) -> None:
        self._rows: list[pa.Table] = []

    def on_start(self, loop: TrainLoop) -> None:
        if loop.rank == 0:
            ledger.truncate(loop.folder, loop.progress.step)

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        steps_per_epoch = loop.stream.steps_per_epoch
        self._rows.append(ledger.entries(loop.progress.step, steps_per_epoch, loop.rank, share))

    def take(self, loop: TrainLoop) -> pa.Table | None:
        """The rows of all ranks since the last call, which are then forgotten here; called by every rank.

        Returns:
            The rows on rank 0, None elsewhere.
        """
        own, self._rows = ledger.merge(self._rows), []
        ranks: list[pa.Table] | None = [None] * loop.world_size if loop.rank == 0 else None
        dist.gather_object(own, ranks)
        return None if ranks is None else ledger.merge(ranks)
