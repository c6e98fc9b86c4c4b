"""How the workers of a run are spread over the nodes of a drill's cluster."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from cli_ray.config import ClusterConfig
from cli_ray.drill.plan import Kind
from cli_ray.errors import UserError

LEAST_NODES = 3
"""Workers of a run then stand on two nodes at least, and the stream has a CPU beside them."""


class Room(NamedTuple):
    """What a node offers."""

    cpus: int = 1
    gpus: tuple[int, ...] = ()
    """Devices of this machine."""


def rooms(cluster: ClusterConfig, nodes: int, gpus: int) -> list[Room]:
    """Equal nodes, none of which holds all workers unless there is only one; a worker takes one logical CPU.

    Args:
        gpus: of this machine.

    Raises:
        UserError: there are too few GPUs.
    """
    workers = cluster.max_workers
    per_node = math.ceil(workers / (nodes - 1))
    devices = math.ceil(per_node * cluster.gpus_per_worker)
    if devices and (gpus // devices) * per_node < workers:
        raise UserError(
            f"cluster.gpus_per_worker = {cluster.gpus_per_worker:g} for {workers} workers, {per_node} a node, needs "
            f"{devices} GPUs a node, and this machine has {gpus} in all: lower cluster.num_workers, or "
            "cluster.gpus_per_worker (0 drills on CPU)"
        )
    dealt = [tuple(range(node * devices, (node + 1) * devices)) for node in range(nodes)]
    return [Room(per_node, one if one and one[-1] < gpus else ()) for one in dealt]


def check_drill(cluster: ClusterConfig, kinds: Sequence[Kind]) -> None:
    """Refuses kills that the run is told not to survive, and runs that cannot be compared.

    Raises:
        UserError: Ray Train restarts no worker, or with another number of them.
    """
    if cluster.min_workers != cluster.max_workers:
        raise UserError(
            f"cluster.num_workers = [{cluster.min_workers}, {cluster.max_workers}]: sums over another number of "
            f"workers differ in their last bits, so drill one number: --cluster.num-workers {cluster.max_workers}"
        )
    if cluster.max_failures == 0 and {"worker", "node", "controller", "agent"} & set(kinds):
        raise UserError(
            "cluster.max_failures = 0 ends the run when a worker, a node or Ray Train's controller dies: set it to 1 "
            "or more, or drill --kill driver storage only"
        )
