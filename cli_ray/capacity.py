"""Capacity for work: whether the nodes have it, and asking an autoscaler for it where the cluster grows.

Called by the trainer, sweeps, evaluations and `cli-ray doctor` before they start workers.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import ray
from ray.util import placement_group, placement_group_table, remove_placement_group

from cli_ray import autoscaler
from cli_ray.config import ClusterConfig
from cli_ray.errors import ClusterError, UserError
from cli_ray.need import Need, Resources
from cli_ray.text import say

NOTICE_S, TIMEOUT_S = ClusterConfig().notice_s, ClusterConfig().timeout_s
"""Of commands whose config has no [cluster]."""
LOOK_S = 1.0
CERTAIN = 3
"""Looks in which an autoscaler must have found no node for a request."""
FORESEE_S = 60.0
"""In which an autoscaler says whether it has nodes for what comes later; one that is slower is asked then."""
HEAD = "node:__internal_head__"
"""The resource that Ray gives the head alone."""


def node_resources() -> list[Resources]:
    """What each living node has, whoever holds it."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


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
