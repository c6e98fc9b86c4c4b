"""GPUs: as many as the config asks for, usable by this torch, with NCCL and bf16."""

from cli_ray.config import RunConfig
from cli_ray.doctor.finding import Finding, Level
from cli_ray.doctor.machine import Machine

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
