"""Where the workers of a run find room: on the nodes of a live cluster, or on some that are described.

Called by `cli-ray plan`; Ray is loaded for a live cluster alone.
"""

from cli_ray.config import ClusterConfig
from cli_ray.errors import UserError
from cli_ray.need import Need, Resources, held, lacking, need_of
from cli_ray.text import counted


def described(cluster: ClusterConfig, nodes: int, gpus: int, cpus: int) -> list[Resources]:
    """Equal nodes.

    Args:
        cluster: of the run.
        nodes: how many.
        gpus: of each.
        cpus: of each; 0 for as many as the run asks for.
    """
    asked = cpus or cluster.max_workers * cluster.cpus_per_worker + 1
    return [{"CPU": float(asked), "GPU": float(gpus)}] * nodes


def live(address: str) -> list[Resources]:
    """The nodes of the Ray cluster at an address.

    Raises:
        UserError: it does not answer.
    """
    import ray

    from cli_ray.capacity import node_resources
    from cli_ray.cluster import answers

    if not answers(address):
        raise UserError(f"--address {address} does not answer: give HOST:PORT of a Ray cluster, such as 10.0.0.1:6379")
    try:
        ray.init(address=address, logging_level="error", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--address {address} cannot be joined: {' '.join(str(error).split())}") from error
    try:
        return node_resources()
    finally:
        ray.shutdown()


def placed(cluster: ClusterConfig, nodes: list[Resources]) -> tuple[Need, str]:
    """What a run takes of nodes, and what they lack for it (empty when they have it)."""
    return need_of(cluster, nodes), lacking(cluster, nodes)


def spread(need: Need, nodes: list[Resources]) -> str:
    """How many workers lie on each node when they are put close together, in words."""
    rest, counts = need.places, []
    for node in nodes:
        count = min(rest, held(node, need.cpus, need.gpus))
        rest -= count
        counts.append(count)
    used = [count for count in counts if count]
    workers = "1 worker" if used == [1] else f"{', '.join(map(str, used))} workers"
    return f"{workers} on {len(used)} of {counted(len(nodes), 'node')}"
