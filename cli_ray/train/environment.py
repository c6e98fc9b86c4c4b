"""What a run ran on: versions, git and hardware. Holds no environment variables, which may be secrets."""

import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from typing import Any

import ray

PACKAGES = ("cli_ray", "torch", "transformers", "deepspeed", "peft", "ray", "pyarrow", "pillow", "numpy")


def environment() -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(),
        "git": {"commit": _git("rev-parse", "HEAD"), "changed": bool(_git("status", "--porcelain"))},
        "cluster": {name: ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU", "memory")},
        "nodes": sum(node["Alive"] for node in ray.nodes()),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that a result may depend on; without cli_ray where it is not installed, but lies in
    the working directory of a job."""
    return {name: version for name in PACKAGES if (version := _version(name))}


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git(*arguments: str) -> str | None:
    """Output of a git command, None outside a checkout or without git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
