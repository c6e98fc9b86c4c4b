"""The server that `cli-ray serve` keeps up: Ray Serve on a cluster with one application, until it is told to stop."""

import logging
import shlex
import socket
import threading
from ipaddress import ip_address

import ray
from ray import serve

from cli_ray.capacity import await_room, node_resources
from cli_ray.cluster import connect
from cli_ray.config.serving import ServeConfig
from cli_ray.console import is_verbose, muted
from cli_ray.errors import UserError
from cli_ray.need import Need, describe
from cli_ray.ray_private import serve_address
from cli_ray.serve.app import NAME, SHUTDOWN_S, application
from cli_ray.serve.key import VARIABLE, key_digest
from cli_ray.text import last_line, say


def keep_serving(config: ServeConfig, host: str, port: int) -> None:
    """Serves a model until SIGINT or SIGTERM, and takes all down that it has put up.

    Args:
        config: of the server.
        host: to listen at, on the head.
        port: to listen at.

    Raises:
        KeyboardInterrupt: it was told to stop.
        UserError: it cannot serve there, something is served already, or the model cannot be loaded.
    """
    digest = key_digest()
    if not digest and not _is_own(host):
        raise UserError(
            f"--host {host} lets other machines ask: put a key that they must send into the environment variable "
            f"{VARIABLE}, or leave --host out"
        )
    say(f"loading {config.model}")
    connect(config.min_replicas * config.replica.cpus, log_to_driver=False)
    need = Need(config.min_replicas, config.replica.cpus, config.replica.gpus)
    await_room(need, _no_room(config, need))
    if not is_verbose():
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
    found = serve_address()
    if found is None:
        _check_port(host, port)
    elif other := ", ".join(serve.status().applications):
        raise UserError(f"this cluster serves {other} already: end that, or take another cluster by RAY_ADDRESS")
    try:
        if found is None:
            serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
        _run(config, digest)
        say(told(config, *(found or (host, port)), has_key=bool(digest)))
        threading.Event().wait()
    except KeyboardInterrupt:
        say(f"stopping: replies that are being made have {SHUTDOWN_S:.0f} s to end")
        raise
    finally:
        with muted():  # Ray tells in red that its controller ended
            if found is None:
                serve.shutdown()
            else:
                serve.delete(NAME)


def _run(config: ServeConfig, digest: bytes) -> None:
    try:
        serve.run(application(config, digest), name=NAME)
    except RuntimeError as error:
        deployments = serve.status().applications[NAME].deployments
        faults = [last_line(one.message) for one in deployments.values() if one.message]
        why = faults[0].removeprefix("cli_ray.errors.UserError: ") if faults else error
        raise UserError(f"the model cannot be served: {why}") from error


def _no_room(config: ServeConfig, need: Need) -> str:
    return (
        f"no room for min_replicas = {config.min_replicas}, which take {need}; the cluster's nodes have "
        f"{describe(node_resources())}. Lower min_replicas, replica.gpus or replica.cpus, or add nodes; replica.gpus = "
        "0 runs on CPU"
    )


def told(config: ServeConfig, host: str, port: int, *, has_key: bool) -> str:
    """Where it is served, and how to ask.

    Args:
        config: of the server.
        host: that it listens at.
        port: that it listens at.
        has_key: whether requests need one.
    """
    shown = ray.util.get_node_ip_address() if host in ("0.0.0.0", "::") else host
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    body = f'{{"model": "{config.served_name}", "messages": [{{"role": "user", "content": "What is a llama?"}}]}}'
    key = f' -H "Authorization: Bearer ${VARIABLE}"' if has_key else ""
    return "\n".join(
        [
            f"{config.served_name} is served at {url}/v1; Ctrl-C stops it",
            f"try: curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        ]
    )


def _is_own(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_port(host: str, port: int) -> None:
    """Refuses (UserError) what nothing can listen at, for Ray Serve would try for a minute."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        raise UserError(
            f"nothing can listen at {host}:{port} ({error.strerror}): name another --host or --port"
        ) from error
