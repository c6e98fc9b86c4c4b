"""A Ray cluster that grows from a head without CPUs: Ray's own autoscaler, with nodes that are processes here."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE
from ray.autoscaler._private.monitor import BASE_READONLY_CONFIG
from ray.cluster_utils import Cluster
from ray.util import get_node_ip_address

from cli_ray.drill.site import ENVIRONMENT, STORE_BYTES, others_address_kept
from tests.ports import free_ports
from tests.processes import descendants

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


@contextmanager
def growing_cluster(
    types: Mapping[str, Mapping[str, Any]], *, idle_s: float = 10, v2: bool = True, dashboard: int = 0
) -> Iterator[str]:
    """The address of a cluster that has a head without CPUs and starts nodes as they are asked for.

    Args:
        types: by name, `resources` and `max_workers` of the nodes that the autoscaler may start.
        idle_s: after which it ends a node without work.
        v2: the second version of Ray's autoscaler.
        dashboard: port of one, which jobs need; none at 0.
    """
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    port, agent = free_ports(2)
    address = f"{get_node_ip_address()}:{port}"
    config = Path(folder) / "autoscaler.json"
    config.write_text(json.dumps(_config(types, idle_s, address)))
    environment = ENVIRONMENT | {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_ADDRESS": address}
    environment |= {"RAY_enable_autoscaler_v2": str(int(v2))}
    identity = {"RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID}
    head: dict[str, Any] = {
        "num_cpus": 0,
        "include_dashboard": bool(dashboard),
        "dashboard_port": dashboard or None,
        "gcs_server_port": port,
        "dashboard_agent_listen_port": agent,  # Ray's own one may be held by another cluster: no jobs would start then
        "temp_dir": folder,
        "object_store_memory": STORE_BYTES,
        "autoscaling_config": str(config),
        "env_vars": environment | identity,
    }
    with others_address_kept(), patch.dict(os.environ, environment | identity):
        cluster = Cluster(True, head_node_args=head)
    try:
        yield address
    finally:
        ray.shutdown()  # a driver that is still connected ends with its cluster
        nodes = descendants(process.process.pid for process in cluster.head_node.all_processes["monitor"])
        with others_address_kept():
            cluster.shutdown()
        for pid in nodes:  # which the autoscaler started
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _config(types: Mapping[str, Mapping[str, Any]], idle_s: float, address: str) -> dict[str, Any]:
    provider = {
        "type": "external",
        "module": PROVIDER,
        "gcs_address": address,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "launch_multiple": True,
        "disable_node_updaters": True,
        "use_node_id_as_ip": True,
        "disable_launch_config_check": True,
    }
    nodes = {name: {"node_config": {}, "min_workers": 0, **one} for name, one in types.items()}
    for one in nodes.values():
        one["resources"] = {"object_store_memory": STORE_BYTES, **one["resources"]}
    return {
        **BASE_READONLY_CONFIG,
        "cluster_name": "growing",
        "provider": provider,
        "auth": {"ssh_user": "nobody"},
        "max_workers": sum(one["max_workers"] for one in types.values()),
        "idle_timeout_minutes": idle_s / 60,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "available_node_types": {
            FAKE_HEAD_NODE_TYPE: {"resources": {}, "node_config": {}, "max_workers": 0},
            **nodes,
        },
    }
