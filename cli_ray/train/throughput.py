"""How much a rank had to compute in a step, and how much its GPU could at best: what FLOP/s and MFU are made of.

Called by `rank_table`.
"""

from collections.abc import Sequence
from functools import cache

import torch

from cli_ray.costs.flops import Work
from cli_ray.costs.gpus import peak_of
from cli_ray.data.sample import Encoded


def work_of(rows: Sequence[Encoded], passes: int, image_token_id: int) -> Work:
    """What samples need of the model; padding and dummy rows are no work.

    Args:
        rows: the samples of a step.
        passes: forward passes that they are put through.
        image_token_id: of the model.
    """
    return sum((_of_row(row, image_token_id) for row in rows), Work(passes=passes))


def _of_row(row: Encoded, image_token_id: int) -> Work:
    length = len(row.input_ids)
    return Work(
        tiles=row.num_tiles,
        visual_tokens=int((row.input_ids == image_token_id).sum()),
        tokens=length,
        pairs=length**2,
        supervised=row.num_supervised,
        contexts=int(bool(row.images)),
        context_tokens=length if row.images else 0,
    )


@cache
def peak_flops(device: torch.device) -> float:
    """FLOP/s of a device at best in bf16; 0 where that is not known, as on a CPU."""
    return peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else 0.0
