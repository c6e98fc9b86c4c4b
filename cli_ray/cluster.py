"""The Ray cluster that a command works on."""

import math
import os
from pathlib import Path

import ray

from cli_ray.errors import UserError


def connect(cpus: float, *, log_to_driver: bool = True) -> None:
    """Joins the running Ray cluster, or starts one on this machine.

    Args:
        cpus: logical CPUs that workers hold all the time; what reads data gets two more.
        log_to_driver: show what workers print.
    """
    if ray.is_initialized():
        return
    try:
        ray.init(address="auto", logging_level="warning", log_to_driver=log_to_driver)
    except ConnectionError:
        num_cpus = max(os.cpu_count() or 1, math.ceil(cpus) + 2)
        ray.init(num_cpus=num_cpus, logging_level="warning", log_to_driver=log_to_driver)


def refuse_to_lose(option: str, folder: str) -> None:
    """A job's working directory is a copy that Ray deletes, so nothing must be kept in it.

    Args:
        option: that names the folder, such as `--runs-dir`.
        folder: a path or URI.

    Raises:
        UserError: this is a job and `folder` is relative.
    """
    is_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if is_job and "://" not in folder and not Path(folder).is_absolute():
        raise UserError(
            f"{option} {folder} is relative, but the working directory of a Ray job is deleted after it: "
            f"give an absolute path or a URI that all nodes share, such as {option} /shared/{Path(folder).name}"
        )
