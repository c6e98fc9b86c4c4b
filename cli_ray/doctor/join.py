"""Joins the cluster that runs, if one does."""

import ray

from cli_ray import autoscaler
from cli_ray.cluster import fault_of, is_named, running_address
from cli_ray.doctor.finding import Finding, first_line
from cli_ray.doctor.nodes import node_names
from cli_ray.signals import ray_connects

RAYS_NOTE = "/tmp/ray/ray_current_cluster"
"""Where Ray keeps the address of the newest cluster of a machine."""


def join() -> Finding:
    """Joins the cluster that runs; starts none."""
    if not ray.is_initialized():
        address = running_address()
        if not address:
            fix = "on a cluster: ray job submit --working-dir . -- python -m cli_ray.commands.main doctor [CONFIG.toml]"
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
    told = f"{len(node_names())} node(s), {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs"
    if autoscaler.version():
        told += ", and an autoscaler that adds nodes"
    return Finding("cluster", "ok", told)
