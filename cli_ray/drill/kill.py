"""How a drill disturbs a run: kills by SIGKILL, announced ends, and storage that is away for a while.

Called by the drill, once for each disturbed run.
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
    "barrier": "ray::SynchronizationActor",
    "datasets": "ray::DatasetManager",
    "statistics": "ray::_StatsActor",
    "coordinator": "ray::_AutoscalingCoordinatorActor",
    "reader": "ray::MapBatches",
}
"""How the titles of the processes of a run begin: Ray Train's, the driver's pulse, and Ray Data's."""
AGENT = "ray::RuntimeEnvAgent"
AGENT_S = 20.0
"""Seconds in which a node follows its agent, if it does."""
NOTICE_S = 30
"""Seconds between the notice of a preemption and the end of the node."""

Choice = TypeVar("Choice")


class Strike:
    """One kill of a run: waits for its moment, deals it, and measures what follows."""

    def __init__(self, kill: Kill, job: Job, site: Site) -> None:
        self._kill, self._job, self._site = kill, job, site
        self.step = 0
        """The last one logged before the kill."""
        self._last_step = 0
        """The last one logged before the kill's effect, which a step under way outlives; the run's last where it has
        none."""
        self.redone = 0
        """Steps that were trained a second time."""
        self.recovery_s: float | None = None
        """From the kill to the next new step; None when there was none."""

    def deal(self) -> None:
        """Waits for the moment, kills, and waits for the next new step.

        Raises:
            JobError: the run ended too early, or hangs.
        """
        job, files = self._job, self._job.files
        job.until(lambda: files.step >= self._kill.step)
        time.sleep(self._kill.delay_s)
        self.step = self._last_step = files.step
        starts = len(files.starts)
        if self._kill.kind == "storage":
            self._take_storage_away()
        else:
            dealt_at = kill_now(self._kill, job, self._site)
            job.until(lambda: self._has_restarted(starts) or job.ended())
            self._recover(dealt_at)
        for start in files.starts[max(starts, 1) :]:
            self.redone = max(self.redone, self._last_step - start)

    def _take_storage_away(self) -> None:
        """No checkpoint can be written or read until some seconds after the next one was due."""
        job, kill = self._job, self._kill
        with Outage(job.files.folder / "checkpoints"):
            self._recover(time.monotonic())
            job.until(lambda: job.files.step >= kill.due or job.ended())
            end = time.monotonic() + kill.outage_s
            job.until(lambda: time.monotonic() > end or job.files.step >= kill.back_by or job.ended())

    def _recover(self, dealt_at: float) -> None:
        """Waits for the next new step."""
        job = self._job
        job.until(lambda: job.files.step > self._last_step or job.ended())
        if job.files.step > self._last_step:
            self.recovery_s = time.monotonic() - dealt_at

    def _has_restarted(self, starts: int) -> bool:
        """Whether the workers have started once more. A step that was under way at the kill may end before that."""
        if len(self._job.files.starts) > starts:
            return True
        self._last_step = max(self._last_step, self._job.files.step)
        return False


class Outage:
    """Inside its `with` a plain file stands in the place of a folder; afterwards the content of the folder is back."""

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
        for path in self._aside.iterdir():
            path.rename(self._folder / path.name)
        self._aside.rmdir()


def kill_now(kill: Kill, job: Job, site: Site) -> float:
    """Kills at once, and brings back what the run itself cannot: a node, the command.

    Returns:
        When it was dealt, in seconds of `time.monotonic`.
    """
    return _KILLERS[kill.kind](kill, job, site)


def _kill_node(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of a node's daemon, whose workers die with it; a node like it joins afterwards."""
    dealt_at = time.monotonic()
    site.grow(site.shrink(_busy_node(kill, site), crash=True))
    return dealt_at


def _kill_driver(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of the command's process, then the same command again."""
    dealt_at = time.monotonic()
    job.kill()
    job.start()
    return dealt_at


def _preempt(kill: Kill, job: Job, site: Site) -> float:
    """A node is announced to go and another one joins; it dies once its workers have left, or at the deadline."""
    job.until(lambda: bool(site.everywhere(WORKER)) or job.ended())
    node, dealt_at = _busy_node(kill, site), time.monotonic()
    site.drain(node, NOTICE_S)
    site.grow(site.room(node))
    deadline = dealt_at + NOTICE_S
    job.until(lambda: not site.workers(node, WORKER) or time.monotonic() > deadline or job.ended())
    site.shrink(node, crash=True)
    return dealt_at


def _interrupt(kill: Kill, job: Job, site: Site) -> float:
    """SIGINT of the command's process, as Ctrl-C sends it, and once it has ended the same command again."""
    dealt_at = time.monotonic()
    job.driver.send_signal(signal.SIGINT)
    job.until(lambda: job.driver.poll() is not None)
    if not job.ended():
        job.start()
    return dealt_at


def _kill_process(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of a process of the run, wherever it is; of the first one that comes while there is none."""
    title = TITLES[kill.kind]
    job.until(lambda: bool(site.everywhere(title)) or job.ended())
    processes, dealt_at = site.everywhere(title), time.monotonic()
    if processes:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(_drawn(processes, kill).pid, signal.SIGKILL)
    return dealt_at


def _kill_agent(kill: Kill, job: Job, site: Site) -> float:
    """SIGKILL of a node's agent, which prepares environments; where the node follows it, a node like it joins."""
    node, dealt_at = _busy_node(kill, site), time.monotonic()
    for process in site.workers(node, AGENT):
        os.kill(process.pid, signal.SIGKILL)
    job.until(lambda: not site.lives(node) or time.monotonic() > dealt_at + AGENT_S or job.ended())
    if not site.lives(node):
        site.grow(site.shrink(node, crash=True))
    return dealt_at


_KILLERS: dict[Kind, Callable[[Kill, Job, Site], float]] = {
    "node": _kill_node,
    "driver": _kill_driver,
    "preemption": _preempt,
    "interrupt": _interrupt,
    "agent": _kill_agent,
    **dict.fromkeys(TITLES, _kill_process),
}


def _busy_node(kill: Kill, site: Site) -> Any:
    """A node on which workers are; any node while there are none."""
    return _drawn([node for node in site.nodes if site.workers(node, WORKER)] or site.nodes, kill)


def _drawn(choices: Sequence[Choice], kill: Kill) -> Choice:
    return choices[int(kill.draw * len(choices))]
