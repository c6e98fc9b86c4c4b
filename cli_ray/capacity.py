"""Capacity for work: whether the nodes have it, and asking an autoscaler for it where the cluster grows.

Called by the trainer, sweeps, evaluations and `cli-ray doctor` before they start workers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import ray
from ray.util import placement_group, placement_group_table, remove_placement_group

from cli_ray import autoscaler
from cli_ray.config import ClusterConfig
from cli_ray.errors import ClusterError, UserError
from cli_ray.text import say

NOTICE_S, TIMEOUT_S = ClusterConfig().notice_s, ClusterConfig().timeout_s
"""Of commands whose config has no [cluster]."""
STREAM_CPUS = 1.0
"""What reads the data of a run needs at least."""
LOOK_S = 1.0
CERTAIN = 3
"""Looks in which an autoscaler must have found no node for a request."""
FORESEE_S = 60.0
"""In which an autoscaler says whether it has nodes for what comes later; one that is slower is asked then."""
HEAD = "node:__internal_head__"
"""The resource that Ray gives the head alone."""

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


def node_resources() -> list[Resources]:
    """What each living node has, whoever holds it."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


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


def await_room(
    need: Need,
    refusal: str,
    *,
    copies: int = 1,
    notice_s: float = NOTICE_S,
    timeout_s: float = TIMEOUT_S,
    check: Callable[[], object] = lambda: None,
) -> int:
    """Returns once the connected cluster has room. One that grows is asked for it; it may be in use by others then.

    Args:
        need: of the work.
        refusal: what to raise when the cluster is fixed, or its autoscaler has no such nodes.
        copies: how many equal needs the work could use; one of them has to find room.
        notice_s: seconds after which it is said what is waited for, and again whenever they have doubled.
        timeout_s: seconds after which waiting ends.
        check: called every second; ends the waiting with what it raises.

    Returns:
        How many of the copies the cluster can grow to; an autoscaler of version 1 does not say, so those with a place.

    Raises:
        UserError: the cluster never has this room.
        ClusterError: it did not come in time.
    """
    kind = autoscaler.version()
    if need.fits(node_resources()) and (copies == 1 or not kind):
        return 1
    if not kind:
        raise UserError(refusal)
    with Request(need, copies, kind) as request:
        return request.wait(refusal, notice_s, timeout_s, check)


def refuse_hopeless(need: Need, refusal: str) -> None:
    """Looks ahead for work that comes later: asks the connected cluster for its room, and takes that back once its
    autoscaler has said whether it has such nodes. One of version 1 does not say.

    Args:
        need: of the work.
        refusal: what to raise when the cluster is fixed, or its autoscaler has no such nodes.

    Raises:
        UserError: the cluster never has this room.
    """
    if need.fits(node_resources()):
        return
    kind = autoscaler.version()
    if not kind:
        raise UserError(refusal)
    if kind == 2:
        with Request(need, 1, kind) as request:
            request.foresee(refusal)


class Request:
    """Placement groups that nothing runs in, for which an autoscaler starts nodes; its `with` gives them back.

    Unlike `ray.autoscaler.sdk.request_resources` they end with this driver, and with those of others they add up.

    Args:
        need: of each group.
        copies: groups.
        kind: version of the autoscaler.
    """

    def __init__(self, need: Need, copies: int, kind: int) -> None:
        self._need, self._copies, self._kind = need, copies, kind
        self._groups: list[Any] = []
        self._since = 0
        self._seen = 0
        self._hopeless: frozenset[str] = frozenset()
        self._steady = 0
        """Looks in which the autoscaler came to the same."""

    def __enter__(self) -> Self:
        self._groups = [placement_group(self._need.bundles, strategy="PACK") for _ in range(self._copies)]
        self._since = autoscaler.outlook().now if self._kind == 2 else 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for group in self._groups:
            remove_placement_group(group)

    def wait(self, refusal: str, notice_s: float, timeout_s: float, check: Callable[[], object]) -> int:
        """See `await_room`."""
        began, due_s = time.monotonic(), 0.0
        while True:
            check()
            news = self._look()
            if placed := self._placed():
                if self._copies == 1 or self._kind == 1:
                    return placed
                if self._steady >= CERTAIN:
                    return max(placed, self._copies - len(self._hopeless))
            else:
                self._refuse_hopeless(refusal)
            waited = time.monotonic() - began
            if waited >= timeout_s:
                raise ClusterError(f"no room within {timeout_s:g} s for {self._need}: {news}. The same command goes on")
            if waited >= due_s:
                due_s = max(notice_s, 2 * waited)
                say(f"waiting for room since {waited:.0f} s: asked for {self._need}; {news}")
            time.sleep(LOOK_S)

    def foresee(self, refusal: str) -> None:
        """See `refuse_hopeless`."""
        until = time.monotonic() + FORESEE_S
        while self._steady < CERTAIN and time.monotonic() < until:
            time.sleep(LOOK_S)
            self._look()
        self._refuse_hopeless(refusal)

    def _refuse_hopeless(self, refusal: str) -> None:
        if self._steady >= CERTAIN and self._is_hopeless() and not in_use():
            raise UserError(f"{refusal}. The cluster grows, but its autoscaler has no nodes for this: {self._need}")

    def _look(self) -> str:
        """Notes which groups the autoscaler has no nodes for; says what it does."""
        if self._kind == 1:
            return autoscaler.news()
        outlook = autoscaler.outlook()
        if outlook.seen <= max(self._since, self._seen):
            return str(outlook)
        hopeless = outlook.hopeless & {group.id.hex() for group in self._groups}
        self._steady = self._steady + 1 if hopeless == self._hopeless else 1
        self._seen, self._hopeless = outlook.seen, hopeless
        if self._is_hopeless():
            return "its autoscaler has no nodes for this beside those that are there, which others may leave"
        return str(outlook)

    def _is_hopeless(self) -> bool:
        return len(self._hopeless) == self._copies

    def _placed(self) -> int:
        return sum(placement_group_table(group)["state"] == "CREATED" for group in self._groups)


def in_use() -> bool:
    """Whether there are nodes that may go, or be left by others, and so make room that an autoscaler does not see."""
    if any(HEAD not in node for node in node_resources()):
        return True
    have, free = ray.cluster_resources(), ray.available_resources()
    return any(free.get(name, 0) < have.get(name, 0) for name in ("CPU", "GPU"))
