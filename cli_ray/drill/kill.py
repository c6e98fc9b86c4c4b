"""The kills themselves."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from cli_ray.drill.job import Job
from cli_ray.drill.outage import Outage
from cli_ray.drill.plan import Kill, Kind
from cli_ray.drill.site import Process, Site

WORKER = "ray::RayTrainWorker"
"""How the title of a Ray Train worker begins."""

One = TypeVar("One")


def strike(kill: Kill, job: Job, site: Site) -> None:
    """Deals a kill now; returns once what was killed may come back, which the run does by itself."""
    STRIKES[kill.kind](kill, job, site)


def _worker(kill: Kill, job: Job, site: Site) -> None:
    """SIGKILL of a Ray Train worker; of the first one that comes while there is none."""
    job.until(lambda: bool(_workers(site)) or job.ended())
    found = _workers(site)
    if found:
        os.kill(_drawn(found, kill).pid, signal.SIGKILL)


def _node(kill: Kill, job: Job, site: Site) -> None:
    """SIGKILL of a node's daemon, whose workers die with it; a node like it joins afterwards."""
    busy = [node for node in site.nodes if site.workers(node, WORKER)]
    site.grow(site.shrink(_drawn(busy or site.nodes, kill), crash=True))


def _driver(kill: Kill, job: Job, site: Site) -> None:
    """SIGKILL of the command's process, then the same command again."""
    job.kill()
    job.start()


def _storage(kill: Kill, job: Job, site: Site) -> None:
    """No checkpoint can be written or read until some seconds after the next one was due."""
    with Outage(job.record.folder / "checkpoints"):
        job.until(lambda: job.record.step >= kill.due or job.ended())
        time.sleep(kill.outage_s)


STRIKES: dict[Kind, Callable[[Kill, Job, Site], None]] = {
    "worker": _worker,
    "node": _node,
    "driver": _driver,
    "storage": _storage,
}


def _workers(site: Site) -> list[Process]:
    return [one for node in site.nodes for one in site.workers(node, WORKER)]


def _drawn(ones: Sequence[One], kill: Kill) -> One:
    return ones[int(kill.draw * len(ones))]
