"""What each rank did in a step, gathered in one collective: its times, tokens, FLOPs and memory.

Made by `loop` at each logged step; read by `metrics`, and by the callback that names a slow rank.
"""

import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

from cli_ray.data.reads import Reads
from cli_ray.data.share import Share
from cli_ray.train.engine import Engine, ForwardResult
from cli_ray.train.throughput import peak_flops, work_of

# Legend: R ranks, K columns.

COLUMNS = (
    "data_wait_ms",
    "step_ms",
    "rank_wait_ms",
    "forward_ms",
    "backward_ms",
    "optimizer_ms",
    "reads",
    "read_ms",
    "slowest_read_ms",
    "slowest_shard",
    "peak_GiB",
    "real_tokens",
    "image_tokens",
    "positions",
    "packs",
    "flops",
    "peak_flops",
)
TIMES = ("compute_ms", "forward_ms", "backward_ms", "optimizer_ms", "data_wait_ms", "rank_wait_ms")
"""Of a rank's step; forward, backward and optimizer are parts of `compute_ms`."""
SPREAD = (*TIMES, "real_tokens", "image_tokens")
"""Of which metrics.jsonl has the least, the median and the largest over the ranks, and the rank of the largest."""


@dataclass(frozen=True)
class Timing:
    """Where this rank's time went, in milliseconds."""

    data_wait_ms: float
    """Until its share of the step was there."""
    step_ms: float
    """From there to the end of the step."""
    rank_wait_ms: float
    """Of the step, what it spent in collectives: waiting for slower ranks, and the exchange itself."""


@dataclass(frozen=True)
class RankTable:
    """A row a rank."""

    values_RK: Tensor
    """fp64, see `COLUMNS`."""

    @classmethod
    def gather(
        cls, engine: Engine, share: Share, forwards: Sequence[ForwardResult], timing: Timing, reads: Reads
    ) -> Self:
        """The table of a step; called by every rank.

        Args:
            engine: of this rank.
            share: that it trained.
            forwards: its forward passes.
            timing: where its time went.
            reads: what its stream read since the step that was logged before.
        """
        passes = sum(bool(forward.ids) for forward in forwards)
        work = work_of(share.good, passes, engine.deepspeed.module.config.image_token_id)
        is_bf16 = engine.config.train.precision == "bf16"
        own = {
            **vars(timing),
            **{f"{phase}_ms": engine.clock.phases_ms()[phase] for phase in ("forward", "backward", "optimizer")},
            **asdict(reads),
            "peak_GiB": peak_GiB(),
            "real_tokens": work.tokens,
            "image_tokens": work.visual_tokens,
            "positions": sum(forward.positions for forward in forwards),
            "packs": len(forwards),
            "flops": work.times(engine.flops),
            "peak_flops": peak_flops(engine.device) if is_bf16 else 0.0,
        }
        return cls(engine.gather(torch.tensor([own[name] for name in COLUMNS], dtype=torch.float64)))

    def column(self, name: str) -> Tensor:
        """[R]; `compute_ms` is what the rank's step takes besides waiting for others."""
        if name == "compute_ms":
            return (self.column("step_ms") - self.column("rank_wait_ms")).clamp(min=0)
        return self.values_RK[:, COLUMNS.index(name)]

    @property
    def seconds(self) -> float:
        """Of the step, with the data that it waited for, on the rank that took longest."""
        return float((self.column("data_wait_ms") + self.column("step_ms")).max()) / 1e3

    @property
    def slowest_shard(self) -> int | None:
        """The number of the shard whose read took longest since the step that was logged before; None without any."""
        if not self.column("reads").any():
            return None
        return int(self.column("slowest_shard")[self.column("slowest_read_ms").argmax()])

    def metrics(self) -> dict[str, Any]:
        """The numbers of the step in metrics.jsonl: flat, their units in their names.

        `X/median` is that of a rank: of two in the middle the lower one. `TFLOP/s` is that of a rank on average. `mfu`,
        the share of what the GPUs could do at best, is there where that is known.
        """
        flops, peak = self.column("flops").sum(), self.column("peak_flops")
        metrics: dict[str, Any] = {
            "data_wait_ms": self.column("data_wait_ms").max().item(),
            "step_ms": self.column("step_ms").max().item(),
            "peak_GiB": self.column("peak_GiB").max().item(),
            "padding_share": (1 - self.column("real_tokens").sum() / self.column("positions").sum()).item(),
            "packs": int(self.column("packs").sum()),
            "TFLOP/s": (flops / len(peak) / self.seconds / 1e12).item(),
        }
        if reads := int(self.column("reads").sum()):
            metrics["reads"] = reads
            metrics["read_ms"] = self.column("read_ms").sum().item() / reads
            metrics["slowest_read_ms"] = self.column("slowest_read_ms").max().item()
        if peak.all():
            metrics["mfu"] = (flops / peak.sum() / self.seconds).item()
        for name in SPREAD:
            values_R = self.column(name)
            metrics |= spread(name, values_R.long() if name.endswith("tokens") else values_R)
        return metrics


def spread(name: str, values_R: Tensor) -> dict[str, float]:
    """Least, median and largest value over the ranks, and the rank of the largest."""
    least, median, largest = (round(value.item(), 3) for value in (values_R.min(), values_R.median(), values_R.max()))
    return {
        f"{name}/min": least,
        f"{name}/median": median,
        f"{name}/max": largest,
        f"{name}/rank": int(values_R.argmax()),
    }


def peak_GiB() -> float:
    """Peak memory of this process so far, in GiB (1024-based): of the GPU, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
