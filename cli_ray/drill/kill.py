"""Kills by SIGKILL, and those that are announced: by the notice of a preemption, by Ctrl-C.

A folder that cannot be used for a while.

A kill at its moment, and what follows.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
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


class Outage:
    """Inside its `with` a plain file stands in the folder's place; what was in it is back afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._aside = folder, folder.with_name(f"{folder.name}.away")

    def __enter__(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._folder.rename(self._aside)
        self._folder.touch()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder.is_file():
            self._folder.unlink()
        # The run may write to the folder at any moment, so that there may be a new one.
        self._folder.mkdir(exist_ok=True)
        for one in self._aside.iterdir():
            one.rename(self._folder / one.name)
        self._aside.rmdir()


class Strike:
    """A kill and what follows, until the run is further than it was."""

    def __init__(self, kill: Kill, job: Job, site: Site) -> None:
        self._kill, self._job, self._site = kill, job, site
        self.step = 0
        """The last one logged before the kill, or before its effect."""
        self.redone = 0
        """Steps that were trained a second time."""
        self.recovery_s: float | None = None
        """From the kill to the next new step; None when there was none."""

    def deal(self) -> None:
        """Waits for the moment, kills, and waits for the next new step."""
        job, record = self._job, self._job.record
        job.until(lambda: record.step >= self._kill.step)
        time.sleep(self._kill.delay_s)
        self.step, starts = record.step, len(record.starts)
        if self._kill.kind == "storage":
            self._take_storage_away()
        else:
            dealt = end(self._kill, job, self._site)
            job.until(lambda: self._begun_again(starts) or job.ended())
            self._recover(dealt)
        for start in record.starts[max(starts, 1) :]:
            self.redone = max(self.redone, self.step - start)

    def _take_storage_away(self) -> None:
        """No checkpoint can be written or read until some seconds after the next one was due."""
        job, kill = self._job, self._kill
        with Outage(job.record.folder / "checkpoints"):
            self._recover(time.monotonic())
            job.until(lambda: job.record.step >= kill.due or job.ended())
            back = time.monotonic() + kill.outage_s
            job.until(lambda: time.monotonic() > back or job.record.step >= kill.back_by or job.ended())

    def _recover(self, dealt: float) -> None:
        job = self._job
        job.until(lambda: job.record.step > self.step or job.ended())
        if job.record.step > self.step:
            self.recovery_s = time.monotonic() - dealt

    def _begun_again(self, starts: int) -> bool:
        """Whether the workers have started once more. A step that was under way at the kill may end before that."""
        if len(self._job.record.starts) > starts:
            return True
        self.step = max(self.step, self._job.record.step)
        return False
