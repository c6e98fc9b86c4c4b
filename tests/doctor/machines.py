"""Machines that tests make up."""

from dataclasses import replace
from typing import Any

from cli_ray.doctor.machine import PACKAGES, Gpu, Machine

GIB = 1 << 30
H100 = Gpu("NVIDIA H100 80GB HBM3", "570.86.15", 9.0)
V100 = Gpu("Tesla V100-SXM2-16GB", "570.86.15", 7.0)
SOUND = Machine(
    versions=dict.fromkeys(PACKAGES, "1.2.3"),
    torch_cuda="12.8",
    nccl=True,
    gpus=(H100,) * 8,
    driver_cuda="12.8",
    tools=("g++", "ninja", "nvcc"),
    locks={},
    shm_bytes=64 * GIB,
    memory_bytes=200 * GIB,
    open_files=65536,
    secrets=("HF_TOKEN",),
)


def machine(**changes: Any) -> Machine:
    """A sound machine, but for the changes."""
    return replace(SOUND, **changes)
