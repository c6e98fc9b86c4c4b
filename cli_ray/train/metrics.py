"""The metrics of a step, reduced over ranks, by every rank for `loop`. Names carry their units."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from cli_ray.train.engine import Engine, StepResult
from cli_ray.train.rank_table import RankTable

# Legend: M decoder layers, I images, N vision layers, C sources.

Metrics = dict[str, Any]


def step_metrics(engine: Engine, result: StepResult, ranks: RankTable) -> Metrics:
    """Loss in all and per source, gates, speed and memory; called by every rank.

    What `RankTable.metrics` gives, with the loss, and gates of all images: `gate_mean[m][n]` and `gate_max[m][n]`
    (largest magnitude) belong to the m-th injected decoder layer and the n-th tapped vision layer.
    """
    names = [source.label for source in engine.config.data.sources]
    gates_MIN = _gates(engine, result)
    own = [_by_source(result, names).flatten(), gates_MIN.sum(1).flatten(), torch.tensor([gates_MIN.shape[1]])]
    losses, gates, images = engine.all_reduce(torch.cat(own)).split([len(part) for part in own])
    nll_C, tokens_C = losses.view(2, -1)
    return {
        "loss": (nll_C.sum() / tokens_C.sum().clamp(min=1)).item(),
        **{f"loss/{name}": (nll_C[i] / tokens_C[i]).item() for i, name in enumerate(names) if tokens_C[i]},
        **{f"lr/{group['name']}": group["lr"] for group in engine.deepspeed.optimizer.param_groups},
        "grad_norm": result.grad_norm,
        "tokens/s": result.tokens / ranks.seconds,
        "samples/s": result.samples / ranks.seconds,
        **ranks.metrics(),
        **(_gate_metrics(engine, gates_MIN, gates / images) if images else {}),
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


def _gates(engine: Engine, result: StepResult) -> Tensor:
    """This rank's gates of a step; [M, 0, N] without images, and [0, 0, 0] where nothing has gates."""
    gates = [forward.gates_MIN for forward in result.forwards if forward.gates_MIN is not None]
    vision, decoder = map(len, engine.layers)
    return torch.cat(gates, dim=1).float().cpu() if gates else torch.zeros(decoder, 0, vision)


def _gate_metrics(engine: Engine, gates_MIN: Tensor, means: Tensor) -> Metrics:
    magnitude_MIN = F.pad(gates_MIN.abs(), (0, 0, 0, 1))  # of an image whose gates are closed, for a rank without any
    largest_MN = engine.all_reduce(magnitude_MIN.amax(1), dist.ReduceOp.MAX)
    return {"gate_mean": means.view(largest_MN.shape).tolist(), "gate_max": largest_MN.tolist()}
