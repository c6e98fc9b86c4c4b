"""How much a rank had to compute in a step, and how much its GPU could at best: what FLOP/s and MFU are made of.

Called by `rank_table`.
"""

import re
from collections.abc import Sequence
from functools import cache

import torch

from cli_ray.data.collate import MicroBatch
from cli_ray.model.backbone import CliModel
from cli_ray.model.flops import Work

IMAGES = ("pixel_values", "image_sizes", "batch_num_images")

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


def work_of(batches: Sequence[MicroBatch], model: CliModel) -> Work:
    """What the forward passes of a rank's step are given; padding and dummy rows are no work."""
    return sum((_of_batch(batch, model) for batch in batches if batch.ids), Work())


def _of_batch(batch: MicroBatch, model: CliModel) -> Work:
    inputs = batch.inputs
    images = {name: inputs[name] for name in IMAGES if name in inputs}
    length_B = inputs["attention_mask"].sum(1)
    visual_B = (inputs["input_ids"] == model.config.image_token_id).sum(1)
    return Work(
        passes=1,
        tiles=model.count_tiles(**images) if images else 0,
        visual_tokens=int(visual_B.sum()),
        tokens=int(length_B.sum()),
        pairs=int(length_B.square().sum()),
        supervised=batch.num_supervised,
        contexts=int((visual_B > 0).sum()),
        context_tokens=int(length_B[visual_B > 0].sum()),
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
