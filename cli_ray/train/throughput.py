"""How much a rank had to compute in a step, and how much its GPU could at best: what FLOP/s and MFU are made of.

Called by `rank_table`.
"""

import re
from collections.abc import Sequence
from functools import cache

import torch

from cli_ray.data.sample import Encoded
from cli_ray.model.flops import Work

PEAKS = {
    r"A100": 312e12,
    r"H100 PCIe": 756e12,
    r"H100 NVL": 835e12,
    r"H100": 989e12,
    r"H200 NVL": 835e12,
    r"H200": 989e12,
    r"B200": 2250e12,
    r"L40S": 362e12,
    r"RTX 4090$": 165e12,
    r"MI300X": 1307e12,
    r"MI325X": 1307e12,
}
"""FLOP/s by a part of the name, the more precise one first: dense bf16 with fp32 accumulation, from the data sheets of
NVIDIA A100, H100, H200, HGX B200 and L40S, NVIDIA's "Ada GPU architecture" (RTX 4090), and AMD Instinct MI300X and
MI325X."""


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


def peak_of(name: str) -> float:
    """FLOP/s of a GPU by its name as torch gives it; 0 where it is not in the table, or a slice of a GPU (MIG)."""
    if "MIG" in name:
        return 0.0
    return next((peak for pattern, peak in PEAKS.items() if re.search(rf"\b{pattern}", name)), 0.0)
