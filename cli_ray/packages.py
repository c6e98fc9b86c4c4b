"""Packages: their versions, which `environment.json`, `cli-ray doctor` and the check of attention kernels tell, and
imports that do without one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata


def version_of(package: str) -> str:
    """Version of a package; empty where it is not installed, as cli_ray is not where it lies in a working directory."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@contextmanager
def without(package: str) -> Iterator[None]:
    """Imports within find no such package, unless it is loaded already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
