"""Kills by SIGKILL, and those that are announced: by the notice of a preemption, by Ctrl-C."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from cli_ray.drill.job import Job
from cli_ray.drill.plan import Kill, Kind
from cli_ray.drill.site import Site

WORKER = "ray::RayTrainWorker"
"""How the title of a Ray Train worker begins."""
TITLES: dict[Kind, str] = {
    "worker": WORKER,
    "controller": "ray::Controller",
    "pulse": "ray::Pulse",
    "watcher": "ray::PreemptionWatcher",
    "cleaner": "ray::PlacementGroupCleaner",
    "barrier": "ray::SynchronizationActor",
    "datasets": "ray::DatasetManager",
    "statistics": "ray::_StatsActor",
    "coordinator": "ray::_AutoscalingCoordinatorActor",
    "reader": "ray::MapBatches",
}
"""How the titles of the processes of a run begin: Ray Train's, the driver's pulse, and Ray Data's."""
AGENT = "ray::RuntimeEnvAgent"
AGENT_S = 20.0
"""For a node to follow its agent."""
NOTICE_S = 30
"""Between the notice of a preemption and the end of the node."""

One = TypeVar("One")


def end(kill: Kill, job: Job, site: Site) -> float:
    """Kills now, and brings back what the run cannot: a node, the command.

    Returns:
        When it was dealt, in seconds of `time.monotonic`.
    """
    return ENDS[kill.kind](kill, job, site)


def _node(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of a node's daemon, whose workers die with it; a node like it joins afterwards."""
    dealt = time.monotonic()
    site.grow(site.shrink(_busy_node(kill, site), crash=True))
    return dealt


def _driver(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of the command's process, then the same command again."""
    dealt = time.monotonic()
    job.kill()
    job.start()
    return dealt


def _preemption(kill: Kill, job: Job, site: Site) -> float:
    """A node is announced to go and another one joins; it dies once its workers have left, or at the deadline."""
    job.until(lambda: bool(site.everywhere(WORKER)) or job.ended())
    node, dealt = _busy_node(kill, site), time.monotonic()
    site.drain(node, NOTICE_S)
    site.grow(site.room(node))
    over = dealt + NOTICE_S
    job.until(lambda: not site.workers(node, WORKER) or time.monotonic() > over or job.ended())
    site.shrink(node, crash=True)
    return dealt


def _interrupt(kill: Kill, job: Job, site: Site) -> float:
    """SIGINT of the command's process, as Ctrl-C sends it, and once it has ended the same command again."""
    dealt = time.monotonic()
    job.driver.send_signal(signal.SIGINT)
    job.until(lambda: job.driver.poll() is not None)
    if not job.ended():
        job.start()
    return dealt


def _process(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of a process of the run, wherever it is; of the first one that comes while there is none."""
    title = TITLES[kill.kind]
    job.until(lambda: bool(site.everywhere(title)) or job.ended())
    found, dealt = site.everywhere(title), time.monotonic()
    if found:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(_drawn(found, kill).pid, signal.SIGKILL)
    return dealt


def _agent(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of a node's agent, which prepares environments; where the node follows it, a node like it joins."""
    node, dealt = _busy_node(kill, site), time.monotonic()
    for one in site.workers(node, AGENT):
        os.kill(one.pid, signal.SIGKILL)
    job.until(lambda: not site.lives(node) or time.monotonic() > dealt + AGENT_S or job.ended())
    if not site.lives(node):
        site.grow(site.shrink(node, crash=True))
    return dealt


ENDS: dict[Kind, Callable[[Kill, Job, Site], float]] = {
    "node": _node,
    "driver": _driver,
    "preemption": _preemption,
    "interrupt": _interrupt,
    "agent": _agent,
    **dict.fromkeys(TITLES, _process),
}


def _busy_node(kill: Kill, site: Site) -> Any:
    """A node on which workers are; any one while there are none."""
    return _drawn([node for node in site.nodes if site.workers(node, WORKER)] or site.nodes, kill)


def _drawn(ones: Sequence[One], kill: Kill) -> One:
    return ones[int(kill.draw * len(ones))]
