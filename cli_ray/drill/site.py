"""A Ray cluster on one machine whose nodes and workers can be killed. Called by the drill, and by tests."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ray.cluster_utils import Cluster
from ray.util import get_node_ip_address

from cli_ray import ray_private
from cli_ray.drill.plan import Room

# Inherited by the nodes, which read it as they start: a dead node is noticed within seconds.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_period_ms": "1000",
}
STORE_BYTES = 100 * 2**20


class Process(NamedTuple):
    """A worker of a node."""

    pid: int
    title: str
    """As Ray names it, such as `ray::Replica.run`."""


class Site:
    """A head without CPUs, and nodes with some each. To be built, and grown, in the main thread.

    Args:
        rooms: of the nodes there are at first.
    """

    def __init__(self, rooms: Sequence[Room]) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # AF_UNIX socket paths are at most 107 bytes long.
        self._folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        port = _free_port()
        # Ray Train's own helpers would ask another cluster of this machine whether the run still lives.
        self._environment = {"RAY_ADDRESS": f"{get_node_ip_address()}:{port}"}
        head = {"num_cpus": 0, "include_dashboard": False, "gcs_server_port": port, "temp_dir": self._folder}
        shared = {"object_store_memory": STORE_BYTES, "env_vars": self._environment}
        self.head_arguments: dict[str, Any] = {**head, **shared}
        """Of the head's node, for Ray's `Cluster`."""
        with others_address_kept():
            self._cluster = Cluster(True, head_node_args=self.head_arguments)
        self._rooms: dict[Any, Room] = {}
        for room in rooms:
            self.grow(room)

    @property
    def address(self) -> str:
        """Of the cluster, as RAY_ADDRESS takes it."""
        return str(self._cluster.address)

    @property
    def nodes(self) -> list[Any]:
        """All but the head, oldest first."""
        return list(self._rooms)

    def grow(self, room: Room) -> None:
        """Adds a node."""
        devices = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, room.gpus))} if room.gpus else {}
        node = self._cluster.add_node(
            num_cpus=room.cpus,
            num_gpus=len(room.gpus),
            env_vars=self._environment | devices,
            object_store_memory=STORE_BYTES,
        )
        self._rooms[node] = room

    def room(self, node: Any) -> Room:
        """What a node offers."""
        return self._rooms[node]

    def drain(self, node: Any, notice_s: int) -> None:
        """Announces that a node will be taken away, as clouds do."""
        words = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "drill"]
        words += ["--deadline-remaining-seconds", str(notice_s), "--node-id", node.node_id]
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", self.address, *words]
        subprocess.run(command, capture_output=True, check=True)

    def shrink(self, node: Any, *, crash: bool) -> Room:
        """Takes a node away: by SIGKILL of its daemon, whose workers then die too, or as an autoscaler does."""
        self._cluster.remove_node(node, allow_graceful=not crash)
        return self._rooms.pop(node)

    def workers(self, node: Any, title: str) -> list[Process]:
        """The processes of a node whose title begins so: `ray::Replica` holds a replica, or is about to."""
        (daemon,) = node.all_processes["raylet"]
        return [process for process in _children(daemon.process.pid) if process.title.startswith(title)]

    def everywhere(self, title: str) -> list[Process]:
        """The processes of all nodes, the head among them, whose title begins so."""
        nodes = (self._cluster.head_node, *self._rooms)
        return [process for node in nodes for process in self.workers(node, title)]

    def lives(self, node: Any) -> bool:
        """Whether the daemon of a node runs."""
        (daemon,) = node.all_processes["raylet"]
        return daemon.process.poll() is None

    def close(self) -> None:
        """Ends the cluster."""
        with others_address_kept():
            self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def others_address_kept() -> Iterator[None]:
    """Keeps the file by which commands without RAY_ADDRESS find the user's own cluster, and not a site."""
    file = ray_private.address_file()
    file.parent.mkdir(parents=True, exist_ok=True)  # Ray expects it, and makes only the folder of the site
    content = file.read_bytes() if file.exists() else None
    yield
    if content is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(content)


def _free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _children(parent: int) -> list[Process]:
    """The living children of a process."""
    children = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[1]) == parent:
                    title = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
                    children.append(Process(int(folder.name), title))
            except OSError:  # it has ended meanwhile
                continue
    return children
