"""What work needs of nodes, and whether they have it: places of equal size, CPUs beside them, and what is lacking.

Called by `capacity`, by all that start workers, and by `cli-ray plan`; needs no ray.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cli_ray.config import ClusterConfig

STREAM_CPUS = 1.0
"""What reads the data of a run needs at least."""

Resources = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Need:
    """Places of equal size, each of which lies on one node, and CPUs beside them."""

    places: int
    cpus: float
    gpus: float = 0.0
    beside: float = 0.0
    """CPUs of one node, for what reads the data."""

    def fits(self, nodes: Sequence[Resources]) -> bool:
        """Whether nodes with these resources hold it when nothing else is there."""
        if not self.beside:
            return self.held(nodes) >= self.places
        return any(
            node.get("CPU", 0) >= self.beside
            and self.held([*nodes[:at], {**node, "CPU": node["CPU"] - self.beside}, *nodes[at + 1 :]]) >= self.places
            for at, node in enumerate(nodes)
        )

    def held(self, nodes: Sequence[Resources]) -> int:
        """The places that nodes with these resources hold."""
        return sum(held(node, self.cpus, self.gpus) for node in nodes)

    @property
    def bundles(self) -> list[dict[str, float]]:
        """As a placement group takes it."""
        place = {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        return [place] * self.places + ([{"CPU": self.beside}] if self.beside else [])

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        beside = f", and {self.beside:g} CPU for the stream" if self.beside else ""
        return f"{self.places} x {self.cpus:g} CPU{gpus}{beside}"


def held(node: Resources, cpus: float, gpus: float) -> int:
    """Places of this size on a node. A fraction of a GPU lies on one GPU."""
    by_cpus = int(node.get("CPU", 0) / cpus)
    if not gpus:
        return by_cpus
    there = node.get("GPU", 0)
    if gpus > 1:
        return min(by_cpus, int(there / gpus))
    return min(by_cpus, int(there) * int(1 / gpus) + int(there % 1 / gpus))


def need_of(cluster: ClusterConfig, nodes: Sequence[Resources] = ()) -> Need:
    """What a run asks for: its fewest workers, or as many as Ray Train would start on these nodes, and the stream."""
    need = Need(cluster.min_workers, cluster.cpus_per_worker, cluster.gpus_per_worker, STREAM_CPUS)
    workers = max(cluster.min_workers, min(cluster.max_workers, need.held(nodes)))
    return Need(workers, need.cpus, need.gpus, need.beside)


def lacking(cluster: ClusterConfig, nodes: Sequence[Resources]) -> str:
    """What nodes lack for a run, and which field to change; empty when they have it."""
    need = need_of(cluster, nodes)
    if need.fits(nodes):
        return ""
    have = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    cpus, gpus = need.places * need.cpus, need.places * need.gpus
    if gpus > have["GPU"]:
        return (
            f"cluster.num_workers x cluster.gpus_per_worker asks for {gpus:g} GPUs, the cluster has "
            f"{have['GPU']:g}: lower one of them (gpus_per_worker = 0 trains on CPU)"
        )
    if cpus + need.beside > have["CPU"]:
        return (
            f"cluster.num_workers x cluster.cpus_per_worker asks for {cpus:g} CPUs and the stream for at least one "
            f"more, the cluster has {have['CPU']:g}: lower cluster.cpus_per_worker (fractions are allowed) or "
            "cluster.num_workers, or start Ray with more logical CPUs (ray start --num-cpus)"
        )
    return (
        f"the run asks for {need}, each on one node, and the nodes have {describe(nodes)}: lower "
        "cluster.cpus_per_worker, cluster.gpus_per_worker or cluster.num_workers, or take larger nodes"
    )


def describe(nodes: Sequence[Resources]) -> str:
    """The nodes one by one."""
    return "; ".join(f"{node.get('GPU', 0):g} GPUs and {node.get('CPU', 0):g} CPUs" for node in nodes) or "nothing"
