"""How many replicas a pool should have: what the cluster holds, may grow to, or has to spare.

The pool asks it every few seconds, and commands ask it before they start. It starts and ends nothing itself.
"""

import time

import ray

from cli_ray import autoscaler
from cli_ray.capacity import TIMEOUT_S, node_resources
from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.errors import UserError
from cli_ray.need import Need, describe, held

WAIT_SECONDS = TIMEOUT_S
"""How long a cluster may have no room for any replica, as while its nodes start."""


def place_of(config: ReplicaConfig) -> Need:
    """What one replica needs."""
    return Need(1, config.cpus, config.gpus)


def capacity(config: ReplicaConfig) -> int:
    """Replicas that the cluster could hold at this moment if nothing else ran on it. GPUs of one node each."""
    return place_of(config).held(node_resources())


def no_room(config: ReplicaConfig) -> str:
    """What to say when no node can hold a replica."""
    return (
        f"no node can hold a replica, which takes replica.gpus = {config.gpus:g} and replica.cpus = {config.cpus:g}; "
        f"the cluster's nodes have {describe(node_resources())}. Lower those, or add nodes; replica.gpus = 0 runs on "
        "CPU"
    )


class PoolSize:
    """The size that a pool of replicas should have.

    Args:
        config: the replicas.
        spare_only: the pool takes only what is free; it never makes the cluster grow.
    """

    def __init__(self, config: ReplicaConfig, *, spare_only: bool) -> None:
        self._config = config
        self._grows = not spare_only and autoscaler.version() > 0
        self._ceiling = 0
        """Replicas beyond which the autoscaler has no nodes; 0 where it has not said so."""
        self._patience = WAIT_SECONDS if config.count or self._grows else 0.0
        self._had_room = time.monotonic()
        self._free = 0

    def room(self, ready: int) -> int:
        """Replicas that the cluster could hold.

        Args:
            ready: replicas that generate.

        Raises:
            UserError: it has had no room for any for too long.
        """
        room, now = capacity(self._config), time.monotonic()
        if room or ready:
            self._had_room, self._patience = now, WAIT_SECONDS
        elif now - self._had_room >= self._patience:
            raise UserError(no_room(self._config))
        return room

    def wanted(self, room: int) -> int:
        """Replicas to ask for: as many as the config says, else as the cluster can hold.

        Of a cluster that grows, twice what it holds, until its autoscaler has no nodes for more.
        """
        if self._config.count or not self._grows:
            return self._config.count or room
        if self._ceiling and room >= self._ceiling:
            return room
        refuses = room > 0 and autoscaler.refuses(self._config.cpus, self._config.gpus)
        self._ceiling = room if refuses else 0
        return self._ceiling or max(1, 2 * room)

    def spare(self, pending: int) -> int:
        """Replicas for which there was free room at this look and the one before.

        What is free for a moment may be the place of a training that restarts.

        Args:
            pending: replicas that wait for a place; while there are any, none is free.
        """
        free = 0 if pending else held(ray.available_resources(), self._config.cpus, self._config.gpus)
        before, self._free = self._free, free
        return min(before, free)
