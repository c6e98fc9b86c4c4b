"""The head dies while a training runs on a cluster whose head keeps its tables in Redis (GCS fault tolerance).

    python -m tests.drills.head [CASE ...] [--seed S]

Needs `redis-server` on the PATH. A tiny LLaVA with injection is trained by two workers on a cluster of a head without
CPUs and three nodes with one CPU each, with `cli-ray train` as a process of its own beside the head. At a random step
the head's control service is killed and comes back at once (`control`) or after 20 s (`control-late`), or the whole
head with the driver on it (`head`), as a pod or a machine dies; then the same command is given again. Prints the step,
the steps that were trained twice, the seconds to the next new step, and how the losses compare. The exit code is 1 when
any run came out otherwise.
"""

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cli_ray.commands.drill import samples
from cli_ray.drill.job import Job
from cli_ray.drill.outcome import difference
from cli_ray.drill.plan import Room
from cli_ray.drill.site import Site
from cli_ray.text import grid
from tests.drills.quiet import be_quiet
from tests.drills.training import CASES, write_data
from tests.ports import free_ports

LATE_S = 20.0
"""Longer than it takes a node to miss the head, shorter than Ray's patience (60 s)."""
PATIENCE_S = 300.0
HEAD = ("killed", "at step", "redone", "recovery", "loss difference", "twice", "missing", "exit code")


class KeptSite(Site):
    """A site whose head can be killed and comes back with what it knew."""

    def restart_control(self, outage_s: float) -> None:
        """SIGKILL of the head's control service (GCS), and a new one some seconds later."""
        head = self._cluster.head_node
        head.kill_gcs_server()
        time.sleep(outage_s)
        head.start_gcs_server()

    def restart_head(self, job: Job, outage_s: float) -> None:
        """SIGKILL of all processes of the head with the driver, and a new head some seconds later."""
        job.kill()
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)
        time.sleep(outage_s)
        self._cluster.add_node(**self.head_arguments)
        job.start()


KILLS: dict[str, Callable[[KeptSite, Job], None]] = {
    "control": lambda site, job: site.restart_control(0),
    "control-late": lambda site, job: site.restart_control(LATE_S),
    "head": lambda site, job: site.restart_head(job, LATE_S),
}


@contextmanager
def redis() -> Iterator[None]:
    """A Redis of which clusters learn that are started meanwhile."""
    if not shutil.which("redis-server"):
        sys.exit("redis-server is not there: install Redis 7 (Debian: apt-get install redis-server)")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        os.environ["RAY_REDIS_ADDRESS"] = f"127.0.0.1:{port}"
        try:
            while not _listens(port):
                if server.poll() is not None:
                    sys.exit(f"redis-server ended with {server.returncode}: run it by hand to see why")
                time.sleep(0.1)
            yield
        finally:
            server.kill()
            server.wait()
            del os.environ["RAY_REDIS_ADDRESS"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def disturbed(site: KeptSite, words: list[str], folder: Path, kind: str, step: int, whole: Job) -> list[str]:
    """A line of the table."""
    with Job(words, folder, kind, site.address, PATIENCE_S) as job:
        job.until(lambda: job.files.step >= step)
        began, starts = time.monotonic(), len(job.files.starts)
        KILLS[kind](site, job)
        at = job.files.step
        job.until(lambda: job.files.step > at or job.ended())
        recovery = time.monotonic() - began
        job.until(job.ended)
        redone = max((at - start for start in job.files.starts[starts:]), default=0)
        found, counts = difference(whole.files.losses, job.files.losses), samples(job.files.folder)
        loss = f"{found.largest:g}" if found.none else f"{found.largest:g}, other steps"
        lost = (str(counts.twice), str(counts.missing)) if counts else ("-", "-")
        return [kind, str(at), str(redone), f"{recovery:.1f} s", loss, *lost, str(job.driver.returncode)]


def main() -> int:
    """Runs all drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*KILLS, []], metavar="CASE")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    be_quiet()
    lines = []
    with tempfile.TemporaryDirectory(prefix="drill") as name, redis():
        folder = Path(name)
        site = KeptSite([Room()] * 3)
        try:
            write_data(folder)
            words = [*CASES[0].words(folder), "--train.epochs", "20", "--train.max-steps", "120"]
            with Job(words, folder, "undisturbed", site.address, PATIENCE_S) as whole:
                whole.until(whole.ended)
            for kind in arguments.cases or KILLS:
                lines.append(disturbed(site, words, folder, kind, draw.randrange(1, 60), whole))
                print(" | ".join(lines[-1]), flush=True)
        finally:
            site.close()
    sound = all(line[4] == "0" and line[5:] == ["0", "0", "0"] for line in lines)
    print(f"\n{grid(HEAD, lines, left=1)}\n\n{'all as undisturbed' if sound else 'NOT all as undisturbed'}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
