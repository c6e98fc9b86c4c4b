"""environment.json: what a run ran on, at its first start and at each later one.

Written by the trainer (the driver's side, which needs no torch) and by the ranks (their accelerators). Holds no
environment variables, which may be secrets.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray

from cli_ray.packages import version_of
from cli_ray.storage.lines import now
from cli_ray.train.run_folder import ENVIRONMENT, RunFolder

PACKAGES = (
    "cli_ray", "torch", "transformers", "deepspeed", "peft", "flash-attn", "tokenizers", "ray", "pyarrow", "pillow",
    "numpy",
)  # fmt: skip
PACKAGE = Path(__file__).parents[1]
CODE = (".py", ".txt", ".jsonl")
"""Endings of the files that `code.sha256` is of."""
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray describes a job to its driver in it, with what `ray job submit --metadata-json` gave."""
DRIVER = Path("/proc/driver/nvidia/version")


def record_start(folder: RunFolder) -> None:
    """Writes environment.json, or adds this start to its `resumes`."""
    text = folder.read(ENVIRONMENT)
    if text is None:
        content = environment() | {"resumes": []}
    else:
        content = json.loads(text)
        content.setdefault("resumes", []).append(environment())
    folder.write(ENVIRONMENT, json.dumps(content, indent=2))


def has_begun_here(folder: RunFolder) -> bool:
    """Whether the newest start of a run came as far as its ranks' training, with the packages and code of this one."""
    kinds = [event["event"] for event in folder.events() if event["event"] in ("start", "resume", "begin")]
    if kinds[-1:] != ["begin"]:
        return False
    content = json.loads(folder.read(ENVIRONMENT) or "{}")
    start = content["resumes"][-1] if content.get("resumes") else content
    return bool(start.get("packages") == versions() and start["code"]["sha256"] == code_hash(PACKAGE))


def record_workers(folder: RunFolder) -> None:
    """Adds the accelerators of all ranks to the newest start in environment.json; called by every rank."""
    import torch.distributed as dist

    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, accelerator())
    if dist.get_rank():
        return
    content = json.loads(folder.read(ENVIRONMENT) or "{}")
    start = content["resumes"][-1] if content.get("resumes") else content
    seen = start.setdefault("workers", [])
    seen += [group for group in grouped(ranks) if group not in seen]
    folder.write(ENVIRONMENT, json.dumps(content, indent=2))


def environment() -> dict[str, Any]:
    """What the driver knows of a start."""
    return {
        "time": now(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(),
        "code": code(),
        "cluster": {name: ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU", "memory")},
        "nodes": sum(node["Alive"] for node in ray.nodes()),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that a result may depend on; without cli_ray where it is not installed, but lies in
    the working directory of a job."""
    return {name: version for name in PACKAGES if (version := version_of(name))}


def code() -> dict[str, Any]:
    """Which code runs: its commit, as far as git or the submitter of a job says it, and a hash of its files, which is
    the same for a checkout, a wheel and the working directory of a job."""
    checkout = _git("ls-files", "--error-unmatch", "__init__.py") is not None  # not a repository around a .venv
    commit = _git("rev-parse", "HEAD") if checkout else submitted_commit()
    changed = bool(_git("status", "--porcelain")) if checkout else commit.endswith("-dirty") if commit else None
    return {"commit": commit and commit.removesuffix("-dirty"), "changed": changed, "sha256": code_hash(PACKAGE)}


def code_hash(package: Path) -> str:
    """Of the files of an installed or checked out package."""
    state = hashlib.sha256()
    files = [Path(folder, name) for folder, _, names in os.walk(package, followlinks=True) for name in names]
    named = {path.relative_to(package).as_posix(): path for path in files if path.suffix in CODE}
    for name, path in sorted(named.items()):
        state.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return state.hexdigest()


def submitted_commit() -> str | None:
    """The commit that the metadata of this Ray job names, with `-dirty` behind it where files were changed."""
    commit = (json.loads(os.environ.get(JOB, "{}")).get("metadata") or {}).get("commit")
    return commit if isinstance(commit, str) and commit else None


def accelerator() -> dict[str, Any]:
    """What this rank computes on."""
    import torch

    node = ray.get_runtime_context().get_node_id()
    if not torch.cuda.is_available():
        return {"node": node, "gpu": None}
    text = DRIVER.read_text() if DRIVER.exists() else ""
    return {
        "node": node,
        "gpu": torch.cuda.get_device_name(),
        "driver": driver_version(text),
        "cuda": torch.version.cuda,
    }


def driver_version(text: str) -> str | None:
    """The first version in what NVIDIA's kernel module says of itself, such as 570.86.15."""
    match = re.search(r"\s(\d+\.\d[\d.]*)\s", text)
    return match[1] if match else None


def grouped(ranks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many ranks, on how many nodes, compute on what."""
    groups = Counter(json.dumps(rank) for rank in ranks)
    kinds: dict[str, dict[str, Any]] = {}
    for text, count in groups.items():
        kind = json.loads(text)
        del kind["node"]
        group = kinds.setdefault(json.dumps(kind), {**kind, "ranks": 0, "nodes": 0})
        group["ranks"] += count
        group["nodes"] += 1
    return list(kinds.values())


def _git(*arguments: str) -> str | None:
    """Output of a git command in the folder of the package; None outside a checkout or without git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
