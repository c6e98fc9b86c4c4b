"""Versions of packages: what `environment.json`, `cli-ray doctor` and the check of attention kernels tell."""

from importlib import metadata


def version_of(package: str) -> str:
    """Version of a package; empty where it is not installed, as cli_ray is not where it lies in a working directory."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
