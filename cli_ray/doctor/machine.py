"""What one machine has, by its own account. The examination calls `look` on every node and hands it to the checks."""

import os
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import cli_ray
from cli_ray.packages import version_of

PACKAGES = ("cli_ray", "ray", "deepspeed", "torch", "transformers", "peft", "pyarrow")
"""Whose versions must be the same on all nodes."""
TOOLS = ("g++", "ninja", "nvcc")
SECRETS = (
    "HF_TOKEN",
    "WANDB_API_KEY",
    "CLI_RAY_JUDGE_API_KEY",
    "CLI_RAY_MODEL_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "RAY_AUTH_TOKEN",
)
"""Environment variables of which only the names are shown, and whether they are set."""
SMI = ("nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
"""Sees all GPUs, where CUDA hides them from a task that asked for none."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, as nvidia-smi lists it."""

    name: str
    driver: str
    compute: float
    """Compute capability; bf16 needs 8.0."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What one node has."""

    versions: dict[str, str]
    """Of PACKAGES; empty for those that are not installed."""
    torch_cuda: str
    """CUDA release that torch is built for; empty for a build for CPUs."""
    nccl: bool
    """Whether torch has NCCL."""
    gpus: tuple[Gpu, ...]
    driver_cuda: str
    """Newest CUDA release that the driver runs; empty without one."""
    tools: tuple[str, ...]
    """Those of TOOLS that are there."""
    locks: dict[str, float]
    """Age in seconds of each build lock in the folder of compiled ops."""
    shm_bytes: int
    """Size of /dev/shm."""
    memory_bytes: int
    open_files: int
    """Soft limit."""
    secrets: tuple[str, ...]
    """Names of those of SECRETS that are set."""


def look(name: str = "") -> Machine:
    """Looks at this machine.

    Args:
        name: of the node; not used.
    """
    import torch

    gpus = parse_gpus(_output(SMI))
    versions = {package: version_of(package) for package in PACKAGES}
    return Machine(
        # A job may bring cli_ray in its working directory, which comes before an installed one.
        versions=versions | {"cli_ray": cli_ray.__version__},
        torch_cuda=torch.version.cuda or "",
        nccl=torch.distributed.is_nccl_available(),
        gpus=gpus,
        driver_cuda=parse_driver_cuda(_output(("nvidia-smi",))) if gpus else "",
        tools=tuple(tool for tool in TOOLS if shutil.which(tool)),
        locks=build_locks(extensions_folder()),
        shm_bytes=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        secrets=tuple(secret for secret in SECRETS if os.environ.get(secret)),
    )


def parse_gpus(listing: str) -> tuple[Gpu, ...]:
    """The GPUs in what `SMI` prints."""
    rows = [[cell.strip() for cell in line.split(",")] for line in listing.splitlines()]
    return tuple(Gpu(row[0], row[1], float(row[2])) for row in rows if len(row) == 3)


def parse_driver_cuda(listing: str) -> str:
    """The CUDA release in the head of what `nvidia-smi` prints."""
    match = re.search(r"CUDA Version:\s*([0-9.]+)", listing)
    return match[1] if match else ""


def extensions_folder() -> Path:
    """Where torch puts the ops that it compiles."""
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")


def build_locks(folder: Path) -> dict[str, float]:
    """Age in seconds of each lock that a build has taken, or has left behind."""
    now = time.time()
    return {str(lock): now - lock.stat().st_mtime for lock in sorted(folder.glob("**/lock"))}


def _output(command: tuple[str, ...]) -> str:
    """What a command prints; nothing when it is not there or fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""
