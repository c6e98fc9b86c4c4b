"""Names a rank that all others keep waiting for: a slow GPU, or slow storage below one node."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

import torch.distributed as dist

from cli_ray.data.share import Share
from cli_ray.text import say
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.rank_table import RankTable

WINDOW = 50
"""Logged steps that are looked back on."""
MOST = 0.8
"""Share of them in which the same rank must have been the slowest."""
MARGIN = 0.1
"""By how much at least, as a share of what the median rank takes for a step."""
HINTS = {
    "compute": "look at its GPU (clocks, temperature, other jobs)",
    "data": "look at the storage and the free CPUs of its node",
}

Part = Literal["compute", "data"]


@dataclass(frozen=True)
class Culprit:
    """The rank that a step waited for."""

    rank: int
    part: Part
    """What took it longer than the others."""


class SlowRank(Callback):
    """Runs on every rank, for each tells its node at the start; rank 0 judges."""

    def __init__(self) -> None:
        self._watch = Watch()

    def on_start(self, loop: TrainLoop) -> None:
        self._nodes = [""] * loop.world_size
        dist.all_gather_object(self._nodes, loop.heartbeat.node)

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if metrics is None or loop.rank or loop.ranks is None:
            return
        named = self._watch.add(culprit(loop.ranks))
        if named is None:
            return
        node, name = self._nodes[named.rank], "compute_ms" if named.part == "compute" else "data_wait_ms"
        times_R = loop.ranks.column(name)
        own, median = times_R[named.rank].item(), times_R.median().item()
        loop.folder.event(
            "slow_rank",
            step=loop.progress.step,
            rank=named.rank,
            node=node,
            part=named.part,
            **{name: own, f"{name}/median": median},
        )
        say(
            f"rank {named.rank} (node {node[:8]}) was the slowest in most of the last {WINDOW} logged steps: its "
            f"{named.part} took {own:.0f} ms in the last one, that of the median rank {median:.0f} ms; "
            f"{HINTS[named.part]}"
        )


class Watch:
    """Looks back on the last steps, and names a rank once as long as it stays slow."""

    def __init__(self) -> None:
        self._steps: deque[Culprit | None] = deque(maxlen=WINDOW)
        self._named: Culprit | None = None

    def add(self, culprit: Culprit | None) -> Culprit | None:
        """Adds a step; a rank that is to be named after it."""
        self._steps.append(culprit)
        counts = Counter(self._steps)
        if counts[self._named] < WINDOW / 2:
            self._named = None
        slow = next((one for one, count in counts.items() if one and count > MOST * WINDOW), None)
        if slow is None or slow == self._named:
            return None
        self._named = slow
        return slow


def culprit(ranks: RankTable) -> Culprit | None:
    """The rank that took longer in a step than the median rank by a noticeable margin; None where none did.

    A rank that had more to compute, by its FLOPs, may take as much longer.
    """
    compute_R, data_R, flops_R = (ranks.column(name) for name in ("compute_ms", "data_wait_ms", "flops"))
    share_R = (flops_R / flops_R.median().clamp(min=1)).clamp(min=1)
    late_compute_R = compute_R - compute_R.median() * share_R
    late_data_R = data_R - data_R.median()
    slowest = int((late_compute_R + late_data_R).argmax())
    late_compute, late_data = late_compute_R[slowest], late_data_R[slowest]
    if late_compute + late_data <= MARGIN * (compute_R + data_R).median():
        return None
    return Culprit(slowest, "compute" if late_compute >= late_data else "data")
