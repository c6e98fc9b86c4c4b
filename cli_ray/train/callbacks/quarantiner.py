"""Writes bad samples to `quarantine/` of the run folder, and stops the run when there are too many (on every rank)."""

from collections import Counter
from dataclasses import replace

import torch.distributed as dist

from cli_ray.data.quarantine import Quarantine, allowed
from cli_ray.data.share import Share
from cli_ray.storage.lines import Journal
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics


class Quarantiner(Callback):
    """Runs on every rank and writes that rank's file; the ranks decide together and stop together."""

    def on_start(self, loop: TrainLoop) -> None:
        # Of all ranks: after a start with another number of ranks, a sample may come again to another rank.
        texts = [loop.folder.read(f"quarantine/{name}") or "" for name in loop.folder.names("quarantine")]
        self._file = Journal(loop.folder, f"quarantine/rank{loop.rank}.jsonl")
        self._own = Quarantine(append=self._file.add, path=loop.folder.join("quarantine"))
        self._own.resume([line for text in texts for line in text.split("\n")], counted=loop.rank == 0)
        self._bad = loop.progress.bad_samples

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        self._own.add(share.bad)
        # `progress` counts the bad samples of all ranks since the run's first start: so all ranks stop here or none,
        # and a resumed run stops at the same step as one that was never disturbed.
        before, self._bad = self._bad, loop.progress.bad_samples
        if self._bad == before:
            return
        samples, limit = loop.stream.samples_per_epoch, loop.config.data.max_bad_share
        epochs = -(-loop.progress.step // loop.stream.steps_per_epoch)
        if self._bad > allowed(samples * epochs, limit):
            raise self._of_all_ranks(loop.world_size).too_many(self._bad, samples, epochs, limit)

    def on_end(self, loop: TrainLoop) -> None:
        self._file.close()

    def _of_all_ranks(self, world_size: int) -> Quarantine:
        """The quarantines of all ranks as one."""
        ranks: list[tuple[Counter[str], object]] = [(Counter(), None)] * world_size
        dist.all_gather_object(ranks, (self._own.reasons, self._own.example))
        reasons, examples = zip(*ranks, strict=True)
        example = next((example for example in examples if example is not None), None)
        return replace(self._own, reasons=sum(reasons, Counter()), example=example)
