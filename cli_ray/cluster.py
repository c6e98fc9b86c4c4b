"""The Ray cluster that a command works on."""

import math
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private.services import get_ray_address_from_environment

from cli_ray.errors import UserError
from cli_ray.signals import ray_connects

PROBE_S = 5.0


def connect(cpus: float, *, log_to_driver: bool = True) -> None:
    """Joins the running Ray cluster, or starts one on this machine. From then on SIGTERM raises KeyboardInterrupt in
    the main thread, where Ray would exit without a word.

    Args:
        cpus: logical CPUs that workers hold all the time; what reads data gets two more.
        log_to_driver: show what workers print.

    Raises:
        UserError: RAY_ADDRESS names a cluster that does not answer.
    """
    if ray.is_initialized():
        return
    with ray_connects():
        _join(cpus, log_to_driver)


def _join(cpus: float, log_to_driver: bool) -> None:
    shown: dict[str, Any] = {"logging_level": "warning", "log_to_driver": log_to_driver}
    try:
        dead = dead_address()
        if dead and os.environ.get("RAY_ADDRESS"):
            raise UserError(f"RAY_ADDRESS = {dead} does not answer: start that cluster again, or unset RAY_ADDRESS")
        if not dead:
            ray.init(address="auto", **shown)
            return
    except ConnectionError:  # there is none
        pass
    ray.init(address="local", num_cpus=max(os.cpu_count() or 1, math.ceil(cpus) + 2), **shown)


def dead_address() -> str:
    """The address of the cluster that Ray would join when nothing listens there, which it would try for minutes;
    empty when something does. A cluster that is killed leaves its address behind.

    Raises:
        ConnectionError: Ray knows of no cluster.
    """
    address = get_ray_address_from_environment("auto", None)
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "://" in host:
        return ""
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
    except OSError:
        return str(address)
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
