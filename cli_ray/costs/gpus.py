"""GPUs by name: how much memory they have, and how many FLOP/s at best.

`train.throughput` makes MFU of the peak, `plan` reads both.
"""

import re
from dataclasses import dataclass

GB = 10**9


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU."""

    name: str
    memory: int
    """Bytes."""
    peak: float
    """FLOP/s: dense bf16 with fp32 accumulation."""


_GPUS = {
    r"A100.*40G": Gpu("A100-40GB", 40 * GB, 312e12),
    r"A100": Gpu("A100-80GB", 80 * GB, 312e12),
    r"H100 PCIe": Gpu("H100-PCIe", 80 * GB, 756e12),
    r"H100 NVL": Gpu("H100-NVL", 94 * GB, 835e12),
    r"H100": Gpu("H100-80GB", 80 * GB, 989e12),
    r"H200 NVL": Gpu("H200-NVL", 141 * GB, 835e12),
    r"H200": Gpu("H200-141GB", 141 * GB, 989e12),
    r"B200": Gpu("B200", 180 * GB, 2250e12),
    r"L40S": Gpu("L40S", 48 * GB, 362e12),
    r"RTX 4090$": Gpu("RTX-4090", 24 * GB, 165e12),
    r"MI300X": Gpu("MI300X", 192 * GB, 1307e12),
    r"MI325X": Gpu("MI325X", 256 * GB, 1307e12),
}
"""By a part of the name that torch gives, the more precise one first; from the data sheets of NVIDIA A100, H100, H200,
HGX B200 and L40S, NVIDIA's "Ada GPU architecture" (RTX 4090), and AMD Instinct MI300X and MI325X."""
GPUS = {gpu.name: gpu for gpu in _GPUS.values()}
"""By the names of `cli-ray plan --gpu`."""


def peak_of(name: str) -> float:
    """FLOP/s of a GPU by its name as torch gives it; 0 where it is not in the table, or a slice of a GPU (MIG)."""
    if "MIG" in name:
        return 0.0
    return next((gpu.peak for pattern, gpu in _GPUS.items() if re.search(rf"\b{pattern}", name)), 0.0)
