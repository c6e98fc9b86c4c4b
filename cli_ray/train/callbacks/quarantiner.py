"""Writes bad samples to quarantine/ and stops the run when there are too many."""

from collections import Counter
from typing import TYPE_CHECKING

import torch.distributed as dist

from cli_ray.data.collate import MicroBatch
from cli_ray.data.quarantine import Quarantine
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.journal import Journal
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class Quarantiner(Callback):
    """Runs on every rank and writes that rank's file; the ranks decide together and stop together."""

    def on_start(self, loop: "TrainLoop") -> None:
        # Those of all ranks: with another number of them, a sample that comes again comes to another one.
        texts = [loop.folder.read(f"quarantine/{name}") or "" for name in loop.folder.names("quarantine")]
        self._written = {line for text in texts for line in text.splitlines()}
        self._file = Journal(loop.folder, f"quarantine/rank{loop.rank}.jsonl")
        self._bad = loop.progress.bad_samples
        share = loop.config.data.max_bad_share
        self._own = Quarantine(append=self._append, path=loop.folder.join("quarantine"), max_bad_share=share)

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        for batch in batches:
            self._own.add(len(batch.ids), batch.bad)
        # The counts of progress are those of all ranks, so all of them gather here or none does.
        before, self._bad = self._bad, loop.progress.bad_samples
        end_of_epoch = loop.stream.epoch_step == 0
        if self._bad > before or (self._bad and end_of_epoch):
            self._of_all_ranks(loop.world_size).check(end_of_epoch)

    def on_end(self, loop: "TrainLoop") -> None:
        self._file.close()

    def _of_all_ranks(self, world_size: int) -> Quarantine:
        """The quarantines of all ranks as one."""
        ranks: list[tuple[int, Counter[str], object]] = [(0, Counter(), None)] * world_size
        dist.all_gather_object(ranks, (self._own.seen, self._own.reasons, self._own.example))
        seen, reasons, examples = zip(*ranks, strict=True)
        return Quarantine(
            append=self._append,
            path=self._own.path,
            max_bad_share=self._own.max_bad_share,
            seen=sum(seen),
            reasons=sum(reasons, Counter()),
            example=next((example for example in examples if example is not None), None),
        )

    def _append(self, line: str) -> None:
        """Steps that are redone after a restart meet the same bad samples again; they are written once."""
        if line not in self._written:
            self._written.add(line)
            self._file.add(line)
