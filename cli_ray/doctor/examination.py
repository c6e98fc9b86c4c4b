"""All checks, one after another, on the cluster that runs or else on this machine. Called by `cli-ray doctor`."""

import os
from collections.abc import Iterator

import ray

from cli_ray.config import RunConfig
from cli_ray.doctor.cluster import (
    HERE,
    check_authentication,
    check_patience,
    check_room,
    check_state_api,
    join,
    node_names,
    on_every_node,
    silent_nodes,
)
from cli_ray.doctor.finding import Finding
from cli_ray.doctor.hardware import check_accelerators, check_memory
from cli_ray.doctor.machine import Machine, look
from cli_ray.doctor.software import check_ops, check_versions, needed_ranges
from cli_ray.doctor.sources import check_sources
from cli_ray.doctor.storage import check_storage


def examine(config: RunConfig | None, runs_dir: str, timeout_s: float) -> Iterator[Finding]:
    """Joins the cluster, if one runs, and yields the findings of all checks.

    Args:
        config: of the run to come, with absolute paths; without it, its needs are not compared.
        runs_dir: absolute path or URI of the folder of runs; empty when it is not to be looked at.
        timeout_s: seconds in which the nodes must answer each question.
    """
    yield join()
    if config and ray.is_initialized():
        yield check_room(config.cluster)
    answers = on_every_node(look, timeout_s=timeout_s)
    yield from silent_nodes(answers)
    machines = answers.by_node
    if machines:
        yield from check_versions(machines, needed_ranges())
        yield from check_ops(machines)
        yield from check_accelerators(machines, config)
        yield from check_memory(machines, stores())
        yield check_secrets(machines)
    yield check_authentication(dict(os.environ), max(1, len(machines)))
    yield check_patience(dict(os.environ))
    if ray.is_initialized():
        yield check_state_api()
    if runs_dir:
        yield from check_storage(runs_dir, timeout_s)
    if config:
        yield from check_sources(config, timeout_s)


def stores() -> dict[str, float]:
    """Bytes of the object store of each node, by its name; nothing without a cluster."""
    if not ray.is_initialized():
        return {}
    names = node_names()
    return {
        names[node["NodeID"]]: node["Resources"].get("object_store_memory", 0.0)
        for node in ray.nodes()
        if node["NodeID"] in names
    }


def check_secrets(machines: dict[str, Machine]) -> Finding:
    """Which secrets are set on which node; never their values."""
    names = [f"{', '.join(machine.secrets) or 'none'} on {name}" for name, machine in machines.items()]
    if len({machine.secrets for machine in machines.values()}) > 1:
        fix = "set the same variables on all nodes before ray start, or in the secret of the pods"
        return Finding("secrets", "warning", f"nodes have different ones: {'; '.join(names)}", fix)
    where = "" if list(machines) == [HERE] else " on all nodes"
    secrets = next(iter(machines.values())).secrets
    return Finding("secrets", "ok", f"{', '.join(secrets) or 'none of those known'} set{where}")
