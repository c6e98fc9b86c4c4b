"""The scripts of cluster/local, for tests that start nodes as users do."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.manifests import CLUSTER
from tests.ports import free_ports


class Local:
    """The scripts with ports and a folder of their own."""

    def __init__(self, folder: Path) -> None:
        port, self.dashboard_port = free_ports(2)
        self.folder = folder
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CLI_RAY_PORT": str(port),
            "CLI_RAY_DASHBOARD_PORT": str(self.dashboard_port),
            "CLI_RAY_FOLDER": str(folder),
        }

    @property
    def address(self) -> str:
        """Of the Jobs API."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command in the environment of the scripts."""
        return subprocess.run(command, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False)

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the scripts."""
        return self.run("bash", str(CLUSTER / "local" / name), *arguments)

    def processes(self) -> list[str]:
        """All processes that name the folder or this cluster's port."""
        listed = self.run("pgrep", "--full", f"{self.folder}|127.0.0.1:{self.environment['CLI_RAY_PORT']}")
        return listed.stdout.split()


@contextmanager
def scripts() -> Iterator[Local]:
    """The scripts; what they started ends with the context."""
    # Short, because the paths of sockets are at most 107 bytes long.
    folder = Path(tempfile.mkdtemp(prefix="cl", dir="/tmp"))
    one = Local(folder)
    try:
        yield one
    finally:
        one.script("stop.sh")
        shutil.rmtree(folder, ignore_errors=True)
