"""Where workers find room: on described nodes, and on those of a cluster that runs."""

import subprocess
import sys

import pytest

from cli_ray.commands.configs import RECIPES
from cli_ray.config import ClusterConfig
from cli_ray.plan.place import described, placed, spread

TINY = str(RECIPES / "configs" / "tiny.toml")


def test_workers_fill_one_node_after_the_other() -> None:
    cluster = ClusterConfig(num_workers=12, cpus_per_worker=2)
    nodes = described(cluster, nodes=3, gpus=8, cpus=32)
    need, fault = placed(cluster, nodes)
    assert fault == ""
    assert spread(need, nodes) == "8, 4 workers on 2 of 3 nodes"


def test_as_many_workers_are_placed_as_there_is_room_for() -> None:
    cluster = ClusterConfig(num_workers=(4, 32))
    need, fault = placed(cluster, described(cluster, nodes=2, gpus=8, cpus=0))
    assert (need.places, fault) == (16, "")


def test_cpus_that_are_missing_are_named() -> None:
    cluster = ClusterConfig(num_workers=8, cpus_per_worker=4)
    _, fault = placed(cluster, described(cluster, nodes=1, gpus=8, cpus=16))
    assert "asks for 32 CPUs and the stream for at least one more, the cluster has 16" in fault


@pytest.mark.slow
def test_a_cluster_that_runs_is_asked_for_its_nodes(cluster: None) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "cli_ray", "plan", TINY, "--address", address]
    output = subprocess.check_output(command, text=True)
    assert output.splitlines()[-1] == "placement: 2 workers on 1 of 4 nodes"
