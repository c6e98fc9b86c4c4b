"""Loss on held-out samples, by every rank."""

import time

import torch

from cli_ray.data.share import Share
from cli_ray.data.stream import Stream
from cli_ray.text import duration, say
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics


class Validator(Callback):
    """Runs on every rank over the same fixed samples each time; sets `loop.validation_loss`."""

    def __init__(self, stream: Stream, max_samples: int) -> None:
        self.stream = stream
        self.max_samples = max_samples

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        step, loop.validated = loop.progress.step, None
        if step % loop.config.validation.every and step != loop.total_steps:
            return
        begun = time.monotonic()
        nll, tokens, samples, bad = self.sums(loop)
        loop.validation_loss = loop.validated = nll / max(1.0, tokens)
        if metrics is not None:
            metrics["validation_loss"] = loop.validation_loss
        if loop.rank == 0:
            loss, seconds = loop.validation_loss, round(time.monotonic() - begun, 3)
            loop.folder.event("validation", step=step, loss=loss, samples=samples, bad_samples=bad, seconds=seconds)
            say(f"validation of step {step:,}: loss {loss:.4f} over {samples:,.0f} samples, took {duration(seconds)}")

    def sums(self, loop: TrainLoop) -> list[float]:
        """Negative log-likelihood, supervised tokens, samples and bad samples over all ranks."""
        total = torch.zeros(4, dtype=torch.float64)
        loop.engine.deepspeed.eval()
        with torch.no_grad():
            for number, share in enumerate(self.stream.iterate(0, 0), start=1):
                loop.heartbeat.at("validation", f"batch {number}")
                nll = sum(loop.engine.forward(batch).nll_S.sum().item() for batch in share.micro_batches())
                own = torch.tensor([nll, share.num_supervised, len(share.ids), share.num_bad], dtype=torch.float64)
                total += loop.engine.all_reduce(own)
                if total[2] >= self.max_samples:
                    break
        loop.engine.deepspeed.train()
        sums: list[float] = total.tolist()
        return sums
