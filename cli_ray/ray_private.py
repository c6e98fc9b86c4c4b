"""Everything private of Ray that this package uses, beside Ray Train's (see `train/ray_train.py`).

Called by `cluster` (which cluster is there, can it be joined?), `autoscaler`, `train/ray_train`, `drill/site`
and `serve/server`.
Written against Ray 2.60. To move to another version of Ray, read this file first: each function says why the public
interface does not do, and when it can go.
"""

import json
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
import ray
from ray._common.utils import get_ray_address_file
from ray._private.gcs_utils import create_gcs_channel
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray._private.ray_logging import global_worker_stdstream_dispatcher
from ray._private.services import get_ray_address_from_environment
from ray._private.worker import print_to_stdstream
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
from ray.core.generated.gcs_service_pb2 import InternalKVGetRequest
from ray.core.generated.gcs_service_pb2_grpc import InternalKVGcsServiceStub
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

_raylet: Any = ray._raylet
RPC_S = 10
"""In which the head must answer about its autoscaler."""
NAMESPACE = b"cli_ray"
"""Of our keys in Ray's key-value store."""


def default_address() -> str:
    """HOST:PORT of the cluster that `ray.init` would join, or `local` where RAY_ADDRESS asks for a new one.

    Why: `ray.init` looks the address up and joins the cluster in one call, and tries an address that nothing listens
    at for minutes. We look before we join.
    Goes: when Ray tells the address without joining.

    Raises:
        ConnectionError: there is no cluster.
    """
    return str(get_ray_address_from_environment("auto", None))


def address_file() -> Path:
    """The file that tells commands without RAY_ADDRESS where this machine's newest cluster is.

    Why: `ray.cluster_utils.Cluster` overwrites it, and the user's own cluster would be lost from sight in a drill.
    Goes: when a `Cluster` can be started without being announced.
    """
    return Path(get_ray_address_file(None))


def versions(address: str, timeout_s: float) -> tuple[str, str] | None:
    """Versions of Ray and Python of the cluster at HOST:PORT; None where it wants another token than is given.

    Why: `ray.init` compares them after it has begun to join, with an error that does not say what to do, and a missing
    token is an error of its compiled parts.
    Goes: when Ray compares versions and tokens before it joins, with errors of their own classes.

    Raises:
        grpc.RpcError: it does not answer.
    """
    channel = create_gcs_channel(address)
    try:
        request = InternalKVGetRequest(namespace=b"cluster", key=b"CLUSTER_METADATA")
        reply = InternalKVGcsServiceStub(channel).InternalKVGet(request, timeout=timeout_s)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            return None
        raise
    finally:
        channel.close()
    metadata = json.loads(reply.value)
    return metadata["ray_version"], metadata["python_version"]


def print_worker_lines(left: Callable[[list[str]], list[str]], is_bare: Callable[[str], bool]) -> None:
    """Has the connected driver print what its workers print as given here, not as Ray does.

    Why: Ray puts `(RayTrainWorker pid=15771)` before each line, and prints what libraries tell programmers, some of it
    from compiled code, which cannot be told not to.
    Goes: when `ray.init` takes a handler of such lines.

    Args:
        left: of the lines of a process that came together, those to print.
        is_bare: whether a line is printed as it is; Ray prints the others, with its prefix.
    """

    def handle(batch: dict[str, Any]) -> None:
        for bare, lines in groupby(left(batch["lines"]), is_bare):
            if bare:
                sys.stdout.write("".join(f"{line}\n" for line in lines))
                sys.stdout.flush()
            else:
                print_to_stdstream({**batch, "lines": list(lines)}, ignore_prefix=False)

    name = "ray_print_logs"  # that of Ray's own handler, for `ray.shutdown` to remove
    global_worker_stdstream_dispatcher.remove_handler(name)
    global_worker_stdstream_dispatcher.add_handler(name, handle)


def has_token() -> bool:
    """Whether this machine has a token for clusters, whatever RAY_AUTH_MODE says.

    Why: `ray start` takes the token mode where there is a token, `ray.init` does not.
    Goes: when `ray.init` does so too.
    """
    return bool(_raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def reread_auth_mode() -> None:
    """Has Ray's compiled parts read RAY_AUTH_MODE again, which they do once, at `import ray`. Goes with `has_token`."""
    _raylet.Config.initialize("")


def runs_autoscaler_v2() -> bool:
    """Whether the connected cluster has an autoscaler of version 2.

    Why: Ray has no public way to read its autoscaler, here and in the next two functions: ray-project/ray issue 37838
    (open in 2026).
    Goes: with that issue.
    """
    key, namespace = _raylet.GCS_AUTOSCALER_V2_ENABLED_KEY.encode(), _raylet.GCS_AUTOSCALER_STATE_NAMESPACE.encode()
    return bool(_gcs_client().internal_kv_get(key, namespace=namespace, timeout=RPC_S) == b"1")


def autoscaler_v1_status() -> bytes | None:
    """JSON that an autoscaler of version 1 reports, which `ray status` prints; None where there is none."""
    status = _gcs_client().internal_kv_get(DEBUG_AUTOSCALING_STATUS.encode(), namespace=None, timeout=RPC_S)
    return None if status is None else bytes(status)


def autoscaler_v2_status() -> Any:
    """`GetClusterStatusReply` of Ray's protocol (src/ray/protobuf/autoscaler.proto)."""
    return GetClusterStatusReply.FromString(_gcs_client().get_cluster_status(timeout_s=RPC_S))


def start_data_helpers() -> None:
    """Starts the actors of Ray Data that outlive a run on this process' node.

    Why: whoever needs them first starts them where it is. On a rank's machine they would keep an autoscaler from ever
    giving it back (ray-project/ray issue 56576, open in 2026).
    Goes: when Ray pins them to the head.
    """
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
        get_or_create_autoscaling_coordinator,
    )
    from ray.data._internal.stats import get_or_create_stats_actor

    get_or_create_autoscaling_coordinator()
    get_or_create_stats_actor()


def actor_id(actor: Any) -> str:
    """Hexadecimal id of an actor, from its handle. Goes when handles tell it as `ray.get_runtime_context()` does."""
    return str(actor._actor_id.hex())


def put_note(key: str, value: str) -> None:
    """Keeps a text in the head of the connected cluster, for other processes.

    Why: what Ray Train's controller reserved must be known after its death, so neither its memory nor an object that
    it owns can hold it.
    Goes: with `train/ray_train.Workers`.
    """
    _internal_kv_put(key, value, namespace=NAMESPACE)


def take_note(key: str) -> str | None:
    """Gives and removes what `put_note` kept; None where there is nothing."""
    value = _internal_kv_get(key, namespace=NAMESPACE)
    if value is None:
        return None
    _internal_kv_del(key, namespace=NAMESPACE)
    return str(value.decode())


def _gcs_client() -> Any:
    return _client_of(ray.get_runtime_context().gcs_address)


@lru_cache(maxsize=1)
def _client_of(address: str) -> Any:
    return _raylet.GcsClient(address=address)


def serve_address() -> tuple[str, int] | None:
    """Host and port that Ray Serve listens at on the joined cluster; None where it does not run.

    Why: `serve.start` keeps to the address of a Serve that runs, and only warns when it was asked for another.
    Goes: when `serve.status` tells the address.
    """
    from ray.serve.context import _get_global_client

    client = _get_global_client(raise_if_no_controller_running=False)
    return None if client is None else (client.http_config.host, client.http_config.port)
