"""Ray's autoscaler: whether the cluster has one, what it is starting, and what it says it can never give.

Ray's own view of it is private, so that this is the one place that reads it: for version 2 the reply of
`GetClusterStatus` (ray/autoscaler/v2/sdk.py), for version 1 the status that `ray status` prints.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

_raylet: Any = ray._raylet
RPC_S = 10
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
        starting = f"its autoscaler is starting {self.starting or 'no'} node(s)"
        return f"{starting}, and could not start some: {self.failure}" if self.failure else starting


def version() -> int:
    """1 or 2 of the autoscaler that adds nodes to the connected cluster; 0 where nothing does."""
    client = _client()
    place = _raylet.GCS_AUTOSCALER_STATE_NAMESPACE.encode()
    if client.internal_kv_get(_raylet.GCS_AUTOSCALER_V2_ENABLED_KEY.encode(), namespace=place, timeout=RPC_S) == b"1":
        return 2
    status = client.internal_kv_get(DEBUG_AUTOSCALING_STATUS.encode(), namespace=None, timeout=RPC_S)
    return int(status is not None and adds_nodes(status))


def adds_nodes(status: bytes) -> bool:
    """Whether the status that version 1 reports is that of an autoscaler which starts nodes."""
    types = json.loads(status).get("autoscaler_report", {}).get("active_nodes", {})
    return any(not name.startswith(READ_ONLY) for name in types)


def outlook() -> Outlook:
    """What the autoscaler of the connected cluster says; of version 2 alone."""
    reply = GetClusterStatusReply.FromString(_client().get_cluster_status(timeout_s=RPC_S))
    state = reply.autoscaling_state
    failures = [one.reason for one in state.failed_instance_requests]
    return Outlook(
        now=reply.cluster_resource_state.cluster_resource_state_version,
        seen=state.last_seen_cluster_resource_state_version,
        hopeless=frozenset(one.details.partition(":")[0] for one in state.infeasible_gang_resource_requests),
        hopeless_bundles=tuple(dict(one.resources_bundle) for one in state.infeasible_resource_requests),
        starting=len(state.pending_instances) + sum(one.count for one in state.pending_instance_requests),
        failure=failures[-1] if failures else "",
    )


def refuses(cpus: float, gpus: float) -> bool:
    """Whether an autoscaler of version 2 has no more nodes for actors of this size."""
    if version() != 2:
        return False
    return any(one.get("CPU", 0) == cpus and one.get("GPU", 0) == gpus for one in outlook().hopeless_bundles)


def news() -> str:
    """What to add to a sentence about missing room; empty where nothing adds nodes."""
    found = version()
    return str(outlook()) if found == 2 else "its autoscaler may be starting nodes" if found else ""


def start_helpers() -> None:
    """Starts the helpers of Ray Data and Ray Train that outlive a run on this driver's node, where the cluster grows.

    Whoever needs them first starts them where it is: a rank, say, whose machine would then never be given back."""
    if not version():
        return
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
        get_or_create_autoscaling_coordinator,
    )
    from ray.data._internal.stats import get_or_create_stats_actor

    get_or_create_autoscaling_coordinator()
    get_or_create_stats_actor()


def _client() -> Any:
    return _client_of(ray.get_runtime_context().gcs_address)


@lru_cache(maxsize=1)
def _client_of(address: str) -> Any:
    return _raylet.GcsClient(address=address)
