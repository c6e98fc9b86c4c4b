"""A Ray head of its own for tests whose commands join a cluster as users' do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.ports import free_ports
from tests.processes import descendants

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
READY_S = 120.0


class Head(NamedTuple):
    """A head without the cluster of the other tests."""

    url: str
    """Of its Jobs API."""
    address: str
    """For RAY_ADDRESS."""
    pid: int

    def ranks(self) -> list[int]:
        """Process ids of the ranks of a job."""
        ranks = []
        for number in descendants([self.pid]):
            with suppress(OSError):  # it has ended meanwhile
                if Path(f"/proc/{number}/cmdline").read_bytes().startswith(b"ray::RayTrainWorker"):
                    ranks.append(number)
        return ranks


@contextmanager
def started() -> Iterator[Head]:
    """Starts a head; it and all it started end with the context."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    gcs, dashboard, agent, metrics, client = free_ports(5)
    sizes = ["--num-cpus", "4", "--object-store-memory", str(200 << 20), "--temp-dir", folder]
    ports = ["--port", str(gcs), "--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent)]
    words = ["start", "--head", "--block", *sizes, *ports, "--metrics-export-port", str(metrics)]
    process = subprocess.Popen(
        [*RAY, *words, "--ray-client-server-port", str(client)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url, until = f"http://127.0.0.1:{dashboard}", time.monotonic() + READY_S
    while not _answers(url):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
    yield Head(url, f"127.0.0.1:{gcs}", process.pid)
    # At once: `ray start --block` takes half a minute to end them in turn.
    for number in [*descendants([process.pid]), process.pid]:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=5) as reply:
            return "ray_version" in json.load(reply)
    except OSError:
        return False
