"""Checks of the software of the nodes: versions of packages and compiled ops. Called by the examination.

Training compiles no op: its optimiser is torch's AdamW and its collectives are NCCL's or gloo's.
"""

from importlib import metadata

from packaging.requirements import Requirement

from cli_ray.doctor.finding import Finding
from cli_ray.doctor.machine import PACKAGES, TOOLS, Machine
from cli_ray.text import counted

FIX = "pip install --constraint constraints.txt . on every node, or start all of them from one image"
STALE_S = 1800
"""A build takes minutes; a lock this old was left by one that died, and all later builds wait for it for ever."""


def check_versions(machines: dict[str, Machine], ranges: dict[str, str]) -> list[Finding]:
    """Packages that are missing, out of range or not the same on all nodes.

    Args:
        machines: by the name of the node.
        ranges: versions that cli_ray needs, by package; empty when they are not known.
    """
    findings = [
        finding for package in PACKAGES for finding in _check_package(package, machines, ranges.get(package, ""))
    ]
    if findings:
        return findings
    first = next(iter(machines.values()))
    versions = ", ".join(f"{package} {first.versions[package]}" for package in PACKAGES)
    # Its metadata holds the ranges, and there is none where a job brings cli_ray in its working directory.
    unknown = "" if ranges else "; not held against the ranges that cli_ray needs, for it is not installed here"
    return [Finding("versions", "ok", f"{versions}, the same on {counted(len(machines), 'node')}{unknown}")]


def needed_ranges() -> dict[str, str]:
    """The range of each dependency by the metadata of the installed cli_ray; empty when it is not installed."""
    try:
        needed = [Requirement(line) for line in metadata.requires("cli_ray") or ()]
    except metadata.PackageNotFoundError:
        return {}
    return {requirement.name: str(requirement.specifier) for requirement in needed if requirement.specifier}


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
    compiler = f"{', '.join(lacking)} not found on all nodes, and not needed" if lacking else "they could be"
    return stale or [Finding("ops", "ok", f"no op of DeepSpeed has to be compiled ({compiler})")]


def _check_package(package: str, machines: dict[str, Machine], span: str) -> list[Finding]:
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
        versions = ", ".join(f"{version} on {', '.join(names)}" for version, names in by_version.items())
        findings.append(Finding("versions", "error", f"{package} differs between nodes: {versions}", FIX))
    return findings
