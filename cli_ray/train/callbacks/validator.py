"""Loss on held-out samples."""

from typing import TYPE_CHECKING

import torch

from cli_ray.data.collate import MicroBatch
from cli_ray.data.stream import Stream
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class Validator(Callback):
    """Runs on every rank over the same fixed samples each time; sets `loop.validation_loss`."""

    def __init__(self, stream: Stream, max_samples: int) -> None:
        self.stream = stream
        self.max_samples = max_samples

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        step = loop.progress.step
        if step % loop.config.validation.every and step != loop.total_steps:
            return
        loop.validation_loss = self.loss(loop)
        if metrics is not None:
            metrics["validation_loss"] = loop.validation_loss
        if loop.rank == 0:
            loop.folder.event("validation", step=step, loss=loop.validation_loss)

    def loss(self, loop: "TrainLoop") -> float:
        """Mean negative log-likelihood per supervised token over all ranks."""
        sums, seen = torch.zeros(2, dtype=torch.float64), 0
        loop.engine.deepspeed.eval()
        with torch.no_grad():
            for batches in self.stream.iterate(0, 0):
                own = torch.zeros(3, dtype=torch.float64)
                for batch in batches:
                    nll_S = loop.engine.forward(batch).nll_S
                    own += torch.tensor([nll_S.sum().item(), nll_S.numel(), len(batch.ids)])
                total = loop.engine.all_reduce(own)
                sums, seen = sums + total[:2], seen + int(total[2])
                if seen >= self.max_samples:
                    break
        loop.engine.deepspeed.train()
        return (sums[0] / sums[1].clamp(min=1)).item()
