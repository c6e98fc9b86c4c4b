"""The metrics of a step, reduced over ranks, by every rank for `loop`. Names carry their units."""

import resource
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from cli_ray.train.engine import Engine, StepResult

# Legend: M decoder layers, I images, N vision layers, C sources.

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """Where this rank's time went, in milliseconds."""

    data_wait_ms: float
    step_ms: float


def step_metrics(engine: Engine, result: StepResult, timing: Timing) -> Metrics:
    """Loss in all and per source, gates, speed and memory; called by every rank.

    Times and memory are those of the slowest and fullest rank, gates those of all images:
    `gate_mean[m][n]` and `gate_max[m][n]` (largest magnitude) belong to the m-th injected decoder
    layer and the n-th tapped vision layer.
    """
    names = [source.label for source in engine.config.data.sources]
    nll_C, tokens_C = engine.all_reduce(_by_source(result, names))
    longest = torch.tensor([timing.data_wait_ms, timing.step_ms, peak_GiB()])
    wait_ms, step_ms, peak = engine.all_reduce(longest, dist.ReduceOp.MAX).tolist()
    seconds = max(1e-9, (wait_ms + step_ms) / 1e3)
    return {
        "loss": (nll_C.sum() / tokens_C.sum().clamp(min=1)).item(),
        **{f"loss/{name}": (nll_C[i] / tokens_C[i]).item() for i, name in enumerate(names) if tokens_C[i]},
        **{f"lr/{group['name']}": group["lr"] for group in engine.deepspeed.optimizer.param_groups},
        "grad_norm": result.grad_norm,
        "tokens/s": result.tokens / seconds,
        "samples/s": result.samples / seconds,
        "data_wait_ms": wait_ms,
        "step_ms": step_ms,
        "peak_GiB": peak,
        **_gate_metrics(engine, result),
    }


def _by_source(result: StepResult, names: list[str]) -> torch.Tensor:
    """Summed loss and supervised tokens per source, [2, C]."""
    sums = torch.zeros(2, len(names), dtype=torch.float64)
    for forward in result.forwards:
        if not forward.ids:
            continue
        source_B = torch.tensor([names.index(source) for source in forward.sources])
        source_S = source_B[forward.sample_S.cpu()]
        sums[0].index_add_(0, source_S, forward.nll_S.cpu().double())
        sums[1].index_add_(0, source_S, torch.ones_like(source_S, dtype=torch.float64))
    return sums


def _gate_metrics(engine: Engine, result: StepResult) -> Metrics:
    shape = tuple(map(len, reversed(engine.layers)))
    if not all(shape):
        return {}
    gates = [forward.gates_MIN for forward in result.forwards if forward.gates_MIN is not None]
    gates_MIN = torch.cat(gates, dim=1).float() if gates else torch.zeros(shape[0], 0, shape[1])
    sums = torch.cat([gates_MIN.sum(1).flatten().cpu(), torch.tensor([float(gates_MIN.shape[1])])])
    largest = gates_MIN.abs().amax(1) if gates_MIN.shape[1] else torch.zeros(shape)
    *total, images = engine.all_reduce(sums).tolist()
    if not images:
        return {}
    return {
        "gate_mean": (torch.tensor(total) / images).view(shape).tolist(),
        "gate_max": engine.all_reduce(largest, dist.ReduceOp.MAX).tolist(),
    }


def peak_GiB() -> float:
    """Peak memory of this process so far, in GiB (1024-based): of the GPU, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
