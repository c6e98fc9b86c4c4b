"""A Ray cluster on one machine whose nodes and workers can be killed."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ray.cluster_utils import Cluster

# Inherited by the nodes, which read it as they start: a dead node is noticed within seconds.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_period_ms": "1000",
    "TOKENIZERS_PARALLELISM": "false",
}
STORE_BYTES = 100 * 2**20


class Process(NamedTuple):
    """A worker of a node."""

    pid: int
    title: str
    """As Ray names it, such as `ray::Replica.run`."""


class Site:
    """A head without CPUs, and nodes with one CPU each.

    Args:
        nodes: how many of the latter there are at first.
    """

    def __init__(self, nodes: int) -> None:
        os.environ.update(ENVIRONMENT)
        # AF_UNIX socket paths are at most 107 bytes long.
        self._folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": self._folder}
        self._cluster = Cluster(True, head_node_args={**head, "object_store_memory": STORE_BYTES})
        self.nodes: list[Any] = []
        for _ in range(nodes):
            self.grow()

    @property
    def address(self) -> str:
        """Of the cluster, as RAY_ADDRESS takes it."""
        return str(self._cluster.address)

    def grow(self) -> None:
        """Adds a node."""
        self.nodes.append(self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def shrink(self, node: Any, *, crash: bool) -> None:
        """Takes a node away: by SIGKILL of its daemon, whose workers then die too, or as an autoscaler does."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=not crash)

    def workers(self, node: Any) -> list[Process]:
        """The workers of a node that hold a replica, or are about to."""
        (daemon,) = node.all_processes["raylet"]
        return [one for one in _children(daemon.process.pid) if one.title.startswith("ray::Replica")]

    def close(self) -> None:
        """Ends the cluster."""
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


def _children(parent: int) -> list[Process]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[1]) == parent:
                    title = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
                    found.append(Process(int(folder.name), title))
            except OSError:  # it has ended meanwhile
                continue
    return found
