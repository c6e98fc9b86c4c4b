"""What one machine has, as it says itself.

GPUs: as many as the config asks for, usable by this torch, with NCCL and bf16.

Memory that nodes share between processes, and open files.

Versions: in the ranges that cli_ray needs, and the same on all nodes.

Compiled ops. Training compiles none: its optimiser is torch's AdamW and its collectives are NCCL's or gloo's.
"""

import os
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import cli_ray
from cli_ray.config import RunConfig
from cli_ray.doctor.finding import Finding, Level
from cli_ray.packages import version_of

PACKAGES = ("cli_ray", "ray", "deepspeed", "torch", "transformers", "peft", "pyarrow")
"""Whose versions must be the same on all nodes."""
TOOLS = ("g++", "ninja", "nvcc")
SECRETS = ("HF_TOKEN", "WANDB_API_KEY", "CLI_RAY_JUDGE_API_KEY", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN")
"""Environment variables of which is told whether they are set, and nothing else."""
SMI = ("nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
"""Sees all GPUs, where CUDA hides them from a task that asked for none."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    name: str
    driver: str
    compute: float
    """Compute capability; bf16 needs 8.0."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One node."""

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
    found = re.search(r"CUDA Version:\s*([0-9.]+)", listing)
    return found[1] if found else ""


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
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


BF16 = 8.0
"""Compute capability from which on tensor cores take bf16."""


def check_accelerators(machines: dict[str, Machine], config: RunConfig | None) -> list[Finding]:
    """What keeps the GPUs from training; what there is, when nothing does."""
    equipped = {name: machine for name, machine in machines.items() if machine.gpus}
    wanted = config.cluster.max_workers * config.cluster.gpus_per_worker if config else 0.0
    findings = [one for name, machine in equipped.items() for one in _check_build(name, machine)]
    if config and wanted and config.train.precision == "bf16":
        findings += [one for name, machine in equipped.items() for one in _check_bf16(name, machine)]
    return [*findings, _check_count(equipped, config, wanted)]


def _check_build(name: str, machine: Machine) -> list[Finding]:
    """Whether torch, its CUDA and NCCL and the driver belong together."""
    if not machine.torch_cuda:
        what = f"{name}: has {len(machine.gpus)} GPU(s), but torch {machine.versions['torch']} is a build for CPUs"
        return [Finding("GPUs", "error", what, "install the CUDA build of torch (pip install torch from PyPI)")]
    findings = []
    if not machine.nccl:
        what = f"{name}: torch {machine.versions['torch']} has no NCCL"
        findings.append(Finding("GPUs", "error", what, "install torch from PyPI, whose builds have it"))
    built, runs = _numbers(machine.torch_cuda), _numbers(machine.driver_cuda)
    if runs and built > runs:
        driver = machine.gpus[0].driver
        what = f"{name}: torch is built for CUDA {machine.torch_cuda}, driver {driver} runs up to {machine.driver_cuda}"
        level: Level = "error" if built[0] > runs[0] else "warning"  # a major release runs on all its drivers, mostly
        fix = "update the driver, or install a torch that is built for an older CUDA"
        findings.append(Finding("GPUs", level, what, fix))
    return findings


def _check_bf16(name: str, machine: Machine) -> list[Finding]:
    slow = sorted({gpu.name for gpu in machine.gpus if gpu.compute < BF16})
    what = f"{name}: {', '.join(slow)} has no bf16, which is emulated slowly"
    return [Finding("GPUs", "warning", what, "set train.precision = 'fp32', or take newer GPUs")] if slow else []


def _check_count(equipped: dict[str, Machine], config: RunConfig | None, wanted: float) -> Finding:
    kinds = [gpu.name for machine in equipped.values() for gpu in machine.gpus]
    told = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))) or "none"
    if config is None:
        return Finding("GPUs", "ok", told)
    least = config.cluster.min_workers * config.cluster.gpus_per_worker
    if least > len(kinds):
        what = f"the config asks for {least:g} GPUs (cluster.num_workers x cluster.gpus_per_worker), there are: {told}"
        fix = "lower one of the two (gpus_per_worker = 0 trains on CPU), or add GPU nodes; an autoscaler may bring them"
        return Finding("GPUs", "error", what, fix)
    if wanted and len(set(kinds)) > 1:
        return Finding("GPUs", "warning", f"{told}: workers wait for the slowest", "train on nodes of one kind")
    return Finding("GPUs", "ok", f"{told}, the config asks for {wanted:g}")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")) if release else ()


GIB = 1 << 30
STORE_SHARE = 0.3
"""Of a node's memory goes to the object store by default."""
LEAST_STORE_BYTES = GIB
"""For a stream of images; Ray advises 2 GB a node."""
OPEN_FILES = 8192
"""Ray's advice."""


def check_memory(machines: dict[str, Machine], stores: dict[str, float]) -> list[Finding]:
    """Whether the object store is large enough and fits into /dev/shm, and files may be opened.

    Args:
        machines: by the name of the node.
        stores: bytes of the object store of each node of a running cluster.
    """
    findings = [
        finding
        for name, machine in machines.items()
        for finding in (
            _check_shm(name, machine, stores.get(name, STORE_SHARE * machine.memory_bytes)),
            _check_store(name, stores.get(name)),
            _check_files(name, machine),
        )
        if finding
    ]
    if findings:
        return findings
    shm = min(machine.shm_bytes for machine in machines.values())
    told = f"object store at least {min(stores.values()) / GIB:.1f} GiB, " if stores else ""
    files = min(machine.open_files for machine in machines.values())
    return [Finding("memory", "ok", f"{told}/dev/shm at least {shm / GIB:.1f} GiB, {files:,} open files")]


def _check_shm(name: str, machine: Machine, store_bytes: float) -> Finding | None:
    if machine.shm_bytes >= store_bytes:
        return None
    what = (
        f"{name}: /dev/shm has {machine.shm_bytes / GIB:.2f} GiB, the object store {store_bytes / GIB:.2f} GiB: Ray "
        "puts it on disk, which is slow"
    )
    fix = (
        f"start the container with --shm-size={store_bytes / GIB + 1:.0f}g (Kubernetes: an emptyDir of medium Memory "
        "at /dev/shm), or Ray with a smaller --object-store-memory"
    )
    return Finding("memory", "warning", what, fix)


def _check_store(name: str, store_bytes: float | None) -> Finding | None:
    if store_bytes is None or store_bytes >= LEAST_STORE_BYTES:
        return None
    what = f"{name}: the object store has {store_bytes / GIB:.2f} GiB; the stream spills to disk when it is full"
    return Finding("memory", "warning", what, "ray start --object-store-memory with at least 2000000000 bytes")


def _check_files(name: str, machine: Machine) -> Finding | None:
    if not 0 <= machine.open_files < OPEN_FILES:
        return None
    what = f"{name}: a process may open {machine.open_files:,} files, which is too few for many workers"
    return Finding("memory", "warning", what, f"ulimit -n {OPEN_FILES} before ray start")


FIX = "pip install --constraint constraints.txt . on every node, or start all of them from one image"


def check_versions(machines: dict[str, Machine], ranges: dict[str, str]) -> list[Finding]:
    """What is missing, out of range or not the same everywhere.

    Args:
        machines: by the name of the node.
        ranges: of the packages that have one.
    """
    findings = [one for package in PACKAGES for one in _check(package, machines, ranges.get(package, ""))]
    if findings:
        return findings
    first = next(iter(machines.values()))
    told = ", ".join(f"{package} {first.versions[package]}" for package in PACKAGES)
    return [Finding("versions", "ok", f"{told}, the same on {len(machines)} node(s)")]


def needed_ranges() -> dict[str, str]:
    """The range of each dependency by the metadata of the installed cli_ray; empty when it is not installed."""
    try:
        needed = [Requirement(line) for line in metadata.requires("cli_ray") or ()]
    except metadata.PackageNotFoundError:
        return {}
    return {one.name: str(one.specifier) for one in needed if one.specifier}


def _check(package: str, machines: dict[str, Machine], span: str) -> list[Finding]:
    by_version: dict[str, list[str]] = {}
    for name, machine in machines.items():
        by_version.setdefault(machine.versions[package], []).append(name)
    findings = [
        Finding("versions", "error", f"{package} is not installed on {', '.join(names)}", FIX)
        for version, names in by_version.items()
        if not version
    ]
    findings += [
        Finding("versions", "error", f"{package} {version} on {', '.join(names)}, but cli_ray needs {span}", FIX)
        for version, names in by_version.items()
        if version and span and version not in Requirement(f"{package}{span}").specifier
    ]
    if len([version for version in by_version if version]) > 1:
        told = ", ".join(f"{version} on {', '.join(names)}" for version, names in by_version.items())
        findings.append(Finding("versions", "error", f"{package} differs between nodes: {told}", FIX))
    return findings


STALE_S = 1800
"""A build takes minutes; a lock this old was left by one that died, and all later builds wait for it for ever."""


def check_ops(machines: dict[str, Machine]) -> list[Finding]:
    """Build locks that were left behind, and whether ops could be compiled."""
    stale = [
        Finding(
            "ops", "error", f"{name}: {lock} is {age_s / 3600:.1f} h old, builds wait for it for ever", f"rm {lock}"
        )
        for name, machine in machines.items()
        for lock, age_s in machine.locks.items()
        if age_s > STALE_S
    ]
    lacking = sorted({tool for machine in machines.values() for tool in TOOLS if tool not in machine.tools})
    able = f"{', '.join(lacking)} not found on all nodes, and not needed" if lacking else "they could be"
    return stale or [Finding("ops", "ok", f"no op of DeepSpeed has to be compiled ({able})")]
