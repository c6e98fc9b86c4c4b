"""Checks of the hardware of the nodes: GPUs, object store, shared memory and open files. Called by the examination."""

from cli_ray.config import RunConfig
from cli_ray.doctor.finding import Finding, Level
from cli_ray.doctor.machine import Machine
from cli_ray.text import counted

BF16 = 8.0
"""Compute capability from which on tensor cores take bf16."""
GIB = 1 << 30
STORE_SHARE = 0.3
"""Share of a node's memory that Ray gives to the object store by default."""
LEAST_STORE_BYTES = GIB
"""Smallest object store for a stream of images; Ray advises 2 GB a node."""
OPEN_FILES = 8192
"""Files that a process should be allowed to open, by Ray's advice."""


def check_accelerators(machines: dict[str, Machine], config: RunConfig | None) -> list[Finding]:
    """Whether there are as many GPUs as the config asks for, usable by the installed torch, with NCCL and bf16.

    Args:
        machines: by the name of the node.
        config: of the run to come; without it GPUs are only counted.
    """
    equipped = {name: machine for name, machine in machines.items() if machine.gpus}
    wanted = config.cluster.max_workers * config.cluster.gpus_per_worker if config else 0.0
    findings = [finding for name, machine in equipped.items() for finding in _check_build(name, machine)]
    if config and wanted and config.train.precision == "bf16":
        findings += [finding for name, machine in equipped.items() for finding in _check_bf16(name, machine)]
    return [*findings, _check_count(equipped, config, wanted)]


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
    store = f"object store at least {min(stores.values()) / GIB:.1f} GiB, " if stores else ""
    files = min(machine.open_files for machine in machines.values())
    return [Finding("memory", "ok", f"{store}/dev/shm at least {shm / GIB:.1f} GiB, {files:,} open files")]


def _check_build(name: str, machine: Machine) -> list[Finding]:
    """Whether torch, its CUDA and NCCL and the driver belong together."""
    if not machine.torch_cuda:
        gpus = counted(len(machine.gpus), "GPU")
        what = f"{name}: has {gpus}, but torch {machine.versions['torch']} is a build for CPUs"
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
    found = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))) or "none"
    if config is None:
        return Finding("GPUs", "ok", found)
    least = config.cluster.min_workers * config.cluster.gpus_per_worker
    if least > len(kinds):
        what = f"the config asks for {least:g} GPUs (cluster.num_workers x cluster.gpus_per_worker), there are: {found}"
        fix = "lower one of the two (gpus_per_worker = 0 trains on CPU), or add GPU nodes; an autoscaler may bring them"
        return Finding("GPUs", "error", what, fix)
    if wanted and len(set(kinds)) > 1:
        return Finding("GPUs", "warning", f"{found}: workers wait for the slowest", "train on nodes of one kind")
    return Finding("GPUs", "ok", f"{found}, the config asks for {wanted:g}")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")) if release else ()


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
