"""Versions: in the ranges that cli_ray needs, and the same on all nodes."""

from importlib import metadata

from packaging.requirements import Requirement

from cli_ray.doctor.finding import Finding
from cli_ray.doctor.machine import PACKAGES, Machine

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
