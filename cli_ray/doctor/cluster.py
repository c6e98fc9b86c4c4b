"""The Ray cluster as a whole: joins it, asks each of its nodes, and checks the services that runs rely on.

Called by the examination, and by the checks that ask every node.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.state import list_nodes

from cli_ray import autoscaler
from cli_ray.capacity import await_room, node_resources
from cli_ray.cluster import fault_of, is_job, is_named, running_address
from cli_ray.config import ClusterConfig
from cli_ray.doctor.finding import Finding
from cli_ray.errors import UserError
from cli_ray.need import lacking, need_of
from cli_ray.signals import ray_connects
from cli_ray.text import counted, first_line, last_line

PATIENCE = "RAY_JOB_STOP_WAIT_TIME_S"
"""Variable by which Ray knows how long a job that is stopped may take to end."""
RAYS_PATIENCE_S = 3.0
"""Ray's default for PATIENCE."""
LEAST_PATIENCE_S = 60.0
"""Enough for a step and a checkpoint of a large model."""
STATE_S = 10
"""Seconds in which the State API must answer."""
HERE = "this-machine"
"""Name of the only node where no cluster runs."""
RAYS_NOTE = "/tmp/ray/ray_current_cluster"
"""File in which Ray keeps the address of the newest cluster of a machine."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Answers(Generic[Answer]):
    """What each node answered."""

    by_node: dict[str, Answer] = field(default_factory=dict)
    """By the name of the node."""
    silent: dict[str, str] = field(default_factory=dict)
    """Why a node gave no answer, by its name."""


def join() -> Finding:
    """Joins the cluster that runs; starts none."""
    if not ray.is_initialized():
        address = running_address()
        if not address:
            fix = "on a cluster: ray job submit --working-dir . -- python -m cli_ray doctor [CONFIG.toml]"
            return Finding("cluster", "warning", "no Ray cluster runs here: only this machine was looked at", fix)
        if fault := fault_of(address):
            fix = "" if is_named() else f"or remove {RAYS_NOTE}, which a killed cluster leaves"
            return Finding("cluster", "error", f"{fault}. Only this machine was looked at", fix)
        try:
            with ray_connects():
                ray.init(address=address, logging_level="error", log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            what = f"the cluster at {address} cannot be joined: {first_line(error)}"
            return Finding("cluster", "error", what, "look at the logs of its head")
    have = ray.cluster_resources()
    size = f"{counted(len(node_names()), 'node')}, {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs"
    if autoscaler.version():
        size += ", and an autoscaler that adds nodes"
    return Finding("cluster", "ok", size)


def node_names() -> dict[str, str]:
    """Name of each living node by its id: its address, and a part of the id where nodes share an address."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    shared = Counter(node["NodeManagerAddress"] for node in alive)
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        + (f"-{node['NodeID'][:8]}" if shared[node["NodeManagerAddress"]] > 1 else "")
        for node in alive
    }


def on_every_node(function: Callable[..., Answer], *arguments: object, timeout_s: float) -> Answers[Answer]:
    """What `function(name, *arguments)` returns on each node; on this machine alone without a cluster.

    Args:
        function: of a module, for nodes import it.
        arguments: after the node's name.
        timeout_s: seconds for all nodes together.
    """
    if not ray.is_initialized():
        return Answers({HERE: function(HERE, *arguments)})
    names: dict[Any, str] = {}
    for node, name in node_names().items():
        options = {"num_cpus": 0, "max_retries": 0, "label_selector": {"ray.io/node-id": node}}
        names[ray.remote(function).options(**options).remote(name, *arguments)] = name
    done, late = ray.wait(list(names), num_returns=len(names), timeout=timeout_s)
    answers: Answers[Answer] = Answers(silent={names[task]: f"no answer within {timeout_s:g} s" for task in late})
    for task in late:
        ray.cancel(task, force=True)
    for task in done:
        try:
            answers.by_node[names[task]] = ray.get(task)
        except (RayError, ImportError) as error:
            answers.silent[names[task]] = last_line(error)
    return answers


def silent_nodes(answers: Answers[Answer]) -> list[Finding]:
    """A finding for each node that gave no answer."""
    fix = "install the same cli_ray and constraints.txt on all nodes, or take the node out of the cluster (`ray stop`)"
    return [Finding("nodes", "error", f"{name}: {reason}", fix) for name, reason in sorted(answers.silent.items())]


def check_authentication(environment: dict[str, str], nodes: int) -> Finding:
    """Whether strangers are kept out, and whether this machine has the token.

    Args:
        environment: variables of this process.
        nodes: of the cluster.
    """
    mode = environment.get("RAY_AUTH_MODE", "")
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    has_token = bool(environment.get("RAY_AUTH_TOKEN")) or path.is_file()
    if mode == "token" and not has_token:
        fix = "ray get-auth-token --generate, and the same RAY_AUTH_TOKEN on all nodes"
        return Finding("auth", "error", f"RAY_AUTH_MODE=token, but neither RAY_AUTH_TOKEN nor {path} is there", fix)
    if mode == "token":
        return Finding("auth", "ok", "RAY_AUTH_MODE=token, a token is there")
    fix = "export RAY_AUTH_MODE=token on all nodes and where jobs are submitted"
    if mode == "disabled" and nodes > 1:
        what = "RAY_AUTH_MODE=disabled: whoever reaches the ports of the cluster runs code on it"
        return Finding("auth", "warning", what, fix)
    if not mode:
        what = "RAY_AUTH_MODE is not set: Ray asks for a token as soon as it finds one on a machine"
        return Finding("auth", "warning", what, f"{fix}, or RAY_AUTH_MODE=disabled on a machine of your own")
    return Finding("auth", "ok", f"RAY_AUTH_MODE={mode}")


def check_state_api() -> Finding:
    """Whether the State API answers. Ray Train asks it for controllers that died, and frees what they had reserved
    only where it answers."""
    try:
        nodes = list_nodes(address=ray.get_runtime_context().gcs_address, timeout=STATE_S)
    except Exception as error:  # whatever the network or Ray raises: there is no answer
        fix = "start the head with --include-dashboard=true and keep its dashboard port open between the nodes"
        what = f"the State API does not answer, workers of dead drivers keep their place: {first_line(error)}"
        return Finding("dashboard", "error", what, fix)
    return Finding("dashboard", "ok", f"the State API answers and lists {counted(len(nodes), 'node')}")


def check_patience(environment: dict[str, str]) -> Finding:
    """Whether a job that is stopped has the time to write a checkpoint.

    Args:
        environment: variables of this process.
    """
    fix = f"submit jobs with --runtime-env jobs/runtime_env.yaml, which sets {PATIENCE}"
    try:
        patience_s = float(environment.get(PATIENCE, RAYS_PATIENCE_S))
    except ValueError:
        return Finding("jobs", "error", f"{PATIENCE} is no number", fix)
    if not is_job(environment) and PATIENCE not in environment:
        return Finding("jobs", "ok", f"this is no job; {fix}")
    if patience_s < LEAST_PATIENCE_S:
        what = f"`ray job stop` kills after {patience_s:g} s, which is too short for a checkpoint"
        return Finding("jobs", "warning", what, fix)
    return Finding("jobs", "ok", f"`ray job stop` waits {patience_s:g} s for a checkpoint")


def check_room(cluster: ClusterConfig) -> Finding:
    """Whether the run finds room. A cluster that grows is asked for it, so that there is something to look at."""
    nodes = node_resources()
    try:
        if refusal := lacking(cluster, nodes):
            await_room(need_of(cluster), refusal, notice_s=cluster.notice_s, timeout_s=cluster.timeout_s)
    except UserError as error:
        return Finding("room", "error", str(error), "or add nodes")
    return spare_cpus(cluster, sum(node.get("CPU", 0) for node in node_resources()))


def spare_cpus(cluster: ClusterConfig, cpus: float) -> Finding:
    """Whether workers leave the stream enough CPUs to read and decode with.

    Args:
        cluster: of the run.
        cpus: logical CPUs of the Ray cluster.
    """
    workers = cluster.min_workers * cluster.cpus_per_worker
    left = cpus - workers
    what = f"{cpus:g} CPUs, workers take {workers:g} and leave the stream {left:g}"
    if left < 2 * cluster.min_workers * cluster.gpus_per_worker:
        fix = "lower cluster.cpus_per_worker (fractions are allowed) or cluster.num_workers, or add CPU nodes"
        return Finding("room", "warning", f"{what}: two for each GPU keep it fed", fix)
    return Finding("room", "ok", what)
