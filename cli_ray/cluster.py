"""The Ray cluster that a command works on: joining it or starting one, and the rules for paths in its jobs.

Called by the commands, the trainer, sweeps and evaluations before they use Ray, and by `cli-ray doctor`.
"""

import math
import os
import platform
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import ray

from cli_ray import ray_private
from cli_ray.console import VERBOSE, is_verbose
from cli_ray.errors import UserError
from cli_ray.signals import ray_connects
from cli_ray.text import STAMP, say

PROBE_S = 5.0
"""In which a cluster must answer."""
NOISE = re.compile(
    r"""^(?:
    \S+:\d+:[ ]\w*(?:Deprecation|Future)Warning:.*\n(?:[ ]{2}.*\n)?  # with the line of code that it is about
    | .*Actor[ ]with[ ]class[ ]name:[ ]'PreemptionWatcher'.*\n         # of Ray Train, at each start
    | .*The[ ]Dataset[ ]job[ ]will[ ]hang[ ]unless.*\n                 # where it would, `train/health` says so
    | \[[\d ,:-]+\][ ]\[INFO\].*\n                                   # DeepSpeed
    )""",
    re.MULTILINE | re.VERBOSE,
)
"""What workers print for programmers."""


def connect(cpus: float, *, log_to_driver: bool = True) -> None:
    """Joins the running Ray cluster, or starts one on this machine where there is none. From then on SIGTERM raises
    KeyboardInterrupt in the main thread, where Ray would exit without a word.

    What workers `say` is printed as if this process had said it, and without `NOISE`; the rest as Ray does it.

    Args:
        cpus: logical CPUs that workers hold all the time; what reads data gets two more.
        log_to_driver: show what workers print.

    Raises:
        UserError: there is a cluster, by RAY_ADDRESS or on this machine, and it cannot be joined; says what to export.
    """
    if ray.is_initialized():
        return
    with ray_connects():
        _join(cpus, log_to_driver or is_verbose())
        quiet_workers()


def _join(cpus: float, log_to_driver: bool) -> None:
    shown: dict[str, Any] = {"logging_level": "warning", "log_to_driver": log_to_driver}
    if is_verbose():
        shown |= {"logging_level": "info", "runtime_env": {"env_vars": {VERBOSE: "1"}}}
    address = running_address()
    if address and not is_named() and not answers(address):  # a cluster that was killed leaves its address behind
        say(f"the cluster at {address}, the last one of this machine, does not answer: starting one here")
        address = ""
    if not address:
        ray.init(address="local", num_cpus=max(os.cpu_count() or 1, math.ceil(cpus) + 2), **shown)
        return
    if fault := fault_of(address):
        raise UserError(fault)
    try:
        ray.init(address=address, **shown)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"the cluster at {address} cannot be joined: {' '.join(str(error).split())}") from error


def quiet_workers() -> None:
    """Has the connected driver print what workers `say` as its own lines, and leave out `NOISE`; all, with Ray's
    prefixes, where it is to be verbose."""
    if not is_verbose():
        ray_private.print_worker_lines(without_noise, lambda line: STAMP.match(line) is not None)


def without_noise(lines: list[str]) -> list[str]:
    """The lines without those that workers print for programmers."""
    return NOISE.sub("", "".join(f"{line}\n" for line in lines)).split("\n")[:-1]


def is_named() -> bool:
    """Whether RAY_ADDRESS says which cluster to use."""
    return os.environ.get("RAY_ADDRESS", "") not in ("", "auto", "local")


def running_address() -> str:
    """The address of the cluster that Ray would join; empty where it knows of none or is told to start one."""
    try:
        address = ray_private.default_address()
    except ConnectionError:
        return ""
    return "" if address == "local" else address


def answers(address: str) -> bool:
    """Whether something listens at HOST:PORT; where nothing does, Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
    except (OSError, ValueError):
        return False
    return True


def fault_of(address: str) -> str:
    """Why a cluster cannot be joined, and what to do; empty when it can. Where it wants a token, RAY_AUTH_MODE is not
    set and this machine has a token, the mode is set, as `ray start` does."""
    named = f"RAY_ADDRESS = {address}" if is_named() else f"the cluster at {address}"
    if "://" in address:
        return (
            f"{named} is an address for jobs: export it as RAY_API_SERVER_ADDRESS, which `ray job submit` reads, and "
            "unset RAY_ADDRESS, or set it to HOST:6379 of the cluster"
        )
    if not answers(address):
        return f"{named} does not answer: start that cluster again, or unset RAY_ADDRESS"
    try:
        versions = ray_private.versions(address, PROBE_S)
        if versions is None and "RAY_AUTH_MODE" not in os.environ and ray_private.has_token():
            os.environ["RAY_AUTH_MODE"] = "token"
            ray_private.reread_auth_mode()
            versions = ray_private.versions(address, PROBE_S)
    except grpc.RpcError as error:
        return f"{named} does not answer as a Ray cluster of this kind does: {error.code().name}"
    if versions is None:
        mode = os.environ.get("RAY_AUTH_MODE", "not set")
        return (
            f"{named} refuses this machine, for it wants a token (RAY_AUTH_MODE is {mode} here): export "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, that of the cluster, or RAY_AUTH_TOKEN_PATH of a file that holds "
            "it; RAY_ADDRESS=local works on a cluster of its own"
        )
    if versions[0] != ray.__version__ or versions[1].split(".")[:2] != platform.python_version().split(".")[:2]:
        return (
            f"{named} has Ray {versions[0]} and Python {versions[1]}, this process Ray {ray.__version__} and Python "
            f"{platform.python_version()}: use those of the cluster (its image, or a job)"
        )
    return ""


def is_job(environment: Mapping[str, str]) -> bool:
    """Whether a process with these environment variables is the driver of a Ray job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in environment


def copy_note(path: str) -> str:
    """What explains why a path is not there, to be put behind the error; empty where it is no job's, or absolute."""
    if not is_job(os.environ) or "://" in path or Path(path).is_absolute():
        return ""
    return (
        f". {path} is relative, and the working directory of a Ray job is a copy of what was submitted, without what "
        ".rayignore and .gitignore name, such as shards and weights: give an absolute path or a URI that all nodes see"
    )


def refuse_to_lose(option: str, folder: str) -> None:
    """A job's working directory is a copy that Ray deletes, so nothing must be kept in it.

    Args:
        option: that names the folder, such as `--runs-dir`.
        folder: a path or URI.

    Raises:
        UserError: this is a job and `folder` is relative.
    """
    if is_job(os.environ) and "://" not in folder and not Path(folder).is_absolute():
        raise UserError(
            f"{option} {folder} is relative, but the working directory of a Ray job is deleted after it: "
            f"give an absolute path or a URI that all nodes share, such as {option} /shared/{Path(folder).name}"
        )
