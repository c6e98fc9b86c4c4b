"""Runs that would hang in silence: what each says, how soon, and what becomes of it.

    python -m tests.drills.silence [CASE ...]

A tiny LLaVA with injection is trained by two workers, `cli-ray train` being a process of its own, on a local cluster
with one node of four CPUs. Prints per case the seconds from the fault to the message that names it, to the first step
after it or to the end of the command, its exit code (none where the run went on) and the message.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from cli_ray.drill.job import Job
from cli_ray.drill.kill import WORKER
from cli_ray.drill.plan import Room
from cli_ray.drill.site import Process, Site
from tests.drills.quiet import be_quiet
from tests.drills.training import CASES, write_data

CPUS = 4
NOTICE_S, TIMEOUT_S = 5, 60
SHOWN = 140
PATIENCE_S = 240.0


@dataclass
class Scene:
    """What the cases share."""

    site: Site
    folder: Path

    @contextmanager
    def job(self, name: str, *words: str) -> Iterator[Job]:
        """A training that goes on until the drill has seen enough."""
        limits = ["--cluster.notice-s", str(NOTICE_S), "--cluster.timeout-s", str(TIMEOUT_S), "--checkpoint.every", "5"]
        endless = ["--train.epochs", "1000", "--train.max-steps", "100000"]
        config = CASES[0].words(self.folder)
        with Job([*config, *limits, *endless, *words], self.folder, name, self.site.address, PATIENCE_S) as job:
            yield job

    def processes(self, title: str) -> list[Process]:
        """Of the node, whose title begins so."""
        return self.site.workers(self.site.nodes[0], title)


def main(names: list[str]) -> int:
    """Runs the cases."""
    be_quiet()
    site = Site([Room(CPUS)])
    try:
        ray.init(address=site.address, logging_level="warning", log_to_driver=False)
        with tempfile.TemporaryDirectory(prefix="drill") as folder:
            write_data(Path(folder))
            print("case | message s | recovery or end s | exit code | message")
            for name in names or list(DRILLS):
                print(DRILLS[name](Scene(site, Path(folder)), name), flush=True)
    finally:
        ray.shutdown()
        site.close()
    return 0


def too_much(scene: Scene, name: str) -> str:
    """More workers than the cluster has CPUs."""
    with scene.job(name, "--cluster.cpus-per-worker", str(CPUS)) as job:
        return seen(name, job, "cluster.num_workers", job.began, lambda: False)


def no_room(scene: Scene, name: str) -> str:
    """Another job holds the CPUs for ever."""
    holders = hold(CPUS)
    with scene.job(name) as job:
        line = seen(name, job, "no worker has begun", job.began, lambda: False)
    release(holders)
    return line


def room_later(scene: Scene, name: str) -> str:
    """Another job holds the CPUs and ends once the run has said so."""
    holders = hold(CPUS)
    with scene.job(name) as job:
        job.until(lambda: "no worker has begun" in job.output.read_text())
        release(holders)
        return seen(name, job, "no worker has begun", job.began, lambda: job.files.step > 0)


def starved(scene: Scene, name: str) -> str:
    """Another job takes the CPUs that the stream needs."""
    with scene.job(name) as job:
        job.until(lambda: job.files.step > 0)
        holders = hold(CPUS - 2)
        began, step = time.monotonic(), job.files.step
        job.until(lambda: "no free CPU" in job.output.read_text())
        told = time.monotonic()
        release(holders)
        return seen(name, job, "no free CPU", began, lambda: job.files.step > step + 50, told)


def frozen_rank(scene: Scene, name: str) -> str:
    """One of two ranks is stopped."""
    return frozen(scene, name, lambda: scene.processes(WORKER)[:1], "no sign of life")


def frozen_ranks(scene: Scene, name: str) -> str:
    """Both ranks are stopped."""
    return frozen(scene, name, lambda: scene.processes(WORKER), "a sign of life")


def frozen_reader(scene: Scene, name: str) -> str:
    """A task that reads is stopped, as by storage that hangs."""
    return frozen(scene, name, lambda: scene.processes("ray::MapBatches")[:1], "for data since")


DRILLS: dict[str, Callable[[Scene, str], str]] = {
    "too-much": too_much,
    "no-room": no_room,
    "room-later": room_later,
    "starved": starved,
    "frozen-rank": frozen_rank,
    "frozen-ranks": frozen_ranks,
    "frozen-reader": frozen_reader,
}


def frozen(scene: Scene, name: str, found: Callable[[], list[Process]], mark: str) -> str:
    """Stops processes after a few steps, and sees whether others take their place and these are gone."""
    with scene.job(name) as job:
        job.until(lambda: job.files.step > 5)
        stopped: list[Process] = []
        while not stopped:
            stopped = found()
        for one in stopped:
            os.kill(one.pid, signal.SIGSTOP)
        began, starts = time.monotonic(), len(job.files.starts)
        size, said = len(job.files.losses), len(job.output.read_text())

        def recovered() -> bool:
            return len(job.files.starts) > starts and len(job.files.losses) > size + 2

        line = seen(name, job, mark, began, recovered, said=said)
        left = [one.pid for one in stopped if Path(f"/proc/{one.pid}/cmdline").exists()]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return f"{line} | {len(left)} of {len(stopped)} frozen processes left"


def seen(
    name: str,
    job: Job,
    mark: str,
    began: float,
    recovered: Callable[[], bool],
    told: float | None = None,
    said: int = 0,
) -> str:
    """A line of the table, once the run has recovered or ended.

    Args:
        told: when the message came, if that is known.
        said: characters of the output before the fault.
    """

    def ended() -> bool:
        return job.driver.poll() is not None

    def message() -> str:
        return next((line for line in job.output.read_text()[said:].splitlines() if mark in line), "")

    job.until(lambda: bool(message()) or ended())
    told = told or time.monotonic()
    job.until(lambda: recovered() or ended())
    spent = time.monotonic() - began
    return f"{name} | {told - began:.1f} | {spent:.1f} | {job.driver.returncode} | {message()[:SHOWN]}"


def hold(cpus: int) -> list[Any]:
    """Takes CPUs, one by one, as another job would."""
    holders = [ray.remote(Holder).options(num_cpus=1).remote() for _ in range(cpus)]
    ray.get([one.here.remote() for one in holders])
    return holders


def release(holders: list[Any]) -> None:
    """Gives them back."""
    for one in holders:
        ray.kill(one)


class Holder:
    """An actor that holds its resources."""

    def here(self) -> None:
        """Returns once it has them."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
