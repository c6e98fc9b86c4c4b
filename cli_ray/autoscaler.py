"""Ray's autoscaler: whether the cluster has one, what it is starting, and what it says it can never give.

Called by `room`, which waits for a cluster to grow, by the supervisor of a run for its messages, and by the pool of
replicas. Version 2 of Ray's autoscaler says all of this; version 1 only that it is there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cli_ray import ray_private
from cli_ray.text import counted

READ_ONLY = "node_"
"""How version 1 begins the names of node types where it only mirrors a cluster that somebody else started."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an autoscaler of version 2 said last."""

    now: int
    """Version of the cluster's state at this moment."""
    seen: int
    """The version that the autoscaler has looked at; 0 before it has looked."""
    hopeless: frozenset[str]
    """Ids of placement groups that neither the present nodes nor those that it may still start can hold."""
    hopeless_bundles: tuple[Mapping[str, float], ...]
    """Resources of tasks and actors of which that holds."""
    starting: int
    """Nodes on their way."""
    failure: str
    """Why nodes could not be started; empty when they could."""

    def __str__(self) -> str:
        if not self.seen:
            return "its autoscaler gives no sign of life (see monitor.log among the logs of the head)"
        starting = f"its autoscaler is starting {counted(self.starting, 'node') if self.starting else 'no node'}"
        return f"{starting}, and could not start some: {self.failure}" if self.failure else starting


def version() -> int:
    """1 or 2 of the autoscaler that adds nodes to the connected cluster; 0 where nothing does."""
    if ray_private.runs_autoscaler_v2():
        return 2
    status = ray_private.autoscaler_v1_status()
    return int(status is not None and adds_nodes(status))


def adds_nodes(status: bytes) -> bool:
    """Whether the status that version 1 reports is that of an autoscaler which starts nodes."""
    types = json.loads(status).get("autoscaler_report", {}).get("active_nodes", {})
    return any(not name.startswith(READ_ONLY) for name in types)


def outlook() -> Outlook:
    """What the autoscaler of the connected cluster says; of version 2 alone."""
    reply = ray_private.autoscaler_v2_status()
    state = reply.autoscaling_state
    failures = [request.reason for request in state.failed_instance_requests]
    return Outlook(
        now=reply.cluster_resource_state.cluster_resource_state_version,
        seen=state.last_seen_cluster_resource_state_version,
        hopeless=frozenset(group.details.partition(":")[0] for group in state.infeasible_gang_resource_requests),
        hopeless_bundles=tuple(dict(request.resources_bundle) for request in state.infeasible_resource_requests),
        starting=len(state.pending_instances) + sum(request.count for request in state.pending_instance_requests),
        failure=failures[-1] if failures else "",
    )


def refuses(cpus: float, gpus: float) -> bool:
    """Whether an autoscaler of version 2 has no more nodes for actors of this size."""
    if version() != 2:
        return False
    return any(bundle.get("CPU", 0) == cpus and bundle.get("GPU", 0) == gpus for bundle in outlook().hopeless_bundles)


def news() -> str:
    """What to add to a sentence about missing room; empty where nothing adds nodes."""
    match version():
        case 2:
            return str(outlook())
        case 1:
            return "its autoscaler may be starting nodes"
        case _:
            return ""


def start_helpers() -> None:
    """Starts the helpers of Ray Data and Ray Train that outlive a run on this driver's node, where the cluster grows.

    A rank would start them on its own machine, which an autoscaler could then never give back."""
    if version():
        ray_private.start_data_helpers()
