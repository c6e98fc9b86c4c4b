"""What a run that does not move waits for, and what to change: sentences from the last signs of its ranks.

Called by the supervisor, which decides when they are due.
"""

from collections.abc import Mapping, Sequence

from cli_ray.config import ClusterConfig
from cli_ray.train.health.heartbeat import ENDED, Seen

SILENT_S = 15.0
"""A process that lives and computes sends a sign each second; one that sent none for so long is frozen or dead."""


def idle_s(seen: Sequence[Seen]) -> float:
    """Seconds since any rank moved; 0 where none has begun or all have ended."""
    return min((rank.idle_s for rank in seen if rank.sign.phase != ENDED), default=0.0)


def diagnose(seen: Sequence[Seen], free: Mapping[str, float], cluster: ClusterConfig) -> str:
    """Who is at fault, and what to change.

    Args:
        seen: the last signs of ranks that do not move.
        free: resources of the cluster that nobody holds.
        cluster: of the run.
    """
    frozen = [rank for rank in seen if rank.silent_s > SILENT_S]
    starved = [rank for rank in seen if rank.sign.phase == "data" and rank not in frozen]
    end = f"After cluster.timeout_s = {cluster.timeout_s} s the run restarts from its last checkpoint."
    if len(frozen) == len(seen):
        return (
            f"no rank has given a sign of life for {min(rank.silent_s for rank in seen):.0f} s: "
            f"{'; '.join(map(_where, seen))}. Either their processes are frozen (look at their machines), or they have "
            f"ended and new ones find no room beside {free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU "
            f"that are free (add nodes, or end what holds them). {end}"
        )
    if frozen:
        silent = "; ".join(f"{_where(rank)} has given no sign of life for {rank.silent_s:.0f} s" for rank in frozen)
        waiting = [rank for rank in seen if rank not in frozen]
        others = f"{_waiting(waiting)}. " if waiting else ""
        return f"{silent}. {others}Look at its machine. {end}"
    if starved and free.get("CPU", 0.0) < 1:
        return (
            f"{_waiting(starved)} for data since {idle_s(starved):.0f} s, and the cluster has no free CPU to read "
            "it with: lower cluster.cpus_per_worker (fractions are allowed) or cluster.num_workers, start Ray with "
            "more logical CPUs (ray start --num-cpus), or end other jobs. If the run itself holds the last ones to "
            f"read with, the storage is slow or gone: {starved[0].sign.detail}. {end}"
        )
    if starved:
        return (
            f"{_waiting(starved)} for data since {idle_s(starved):.0f} s, although the cluster has "
            f"{free['CPU']:g} free CPUs: {starved[0].sign.detail}. Is the storage of data.sources slow or gone? {end}"
        )
    return f"no rank has moved for {idle_s(seen):.0f} s: {'; '.join(map(_where, seen))}. {end}"


def unplaced(
    waited_s: float, have: Mapping[str, float], free: Mapping[str, float], cluster: ClusterConfig, news: str = ""
) -> str:
    """What to say when no worker has begun.

    Args:
        waited_s: seconds since it was asked for.
        have: resources of the cluster.
        free: those that nobody holds.
        cluster: of the run.
        news: of the cluster's autoscaler; empty where it has none.
    """
    needs = [f"{cluster.min_workers} x {cluster.cpus_per_worker:g} CPU"]
    names = ["CPU"]
    if cluster.gpus_per_worker:
        needs.append(f"{cluster.min_workers} x {cluster.gpus_per_worker:g} GPU")
        names.append("GPU")
    room = ", ".join(f"{free.get(name, 0):g} of {have.get(name, 0):g} {name} free" for name in names)
    if news:
        room += f", and {news}"
    return (
        f"no worker has begun for {waited_s:.0f} s: asked for {' and '.join(needs)}, the cluster has {room}. Lower "
        "cluster.num_workers, cluster.cpus_per_worker or cluster.gpus_per_worker, add nodes, or end what holds them "
        "(workers that have their room may still be loading their libraries). "
        f"cluster.timeout_s = {cluster.timeout_s} s of that end the run; the same command goes on."
    )


def _waiting(seen: Sequence[Seen]) -> str:
    numbers = ", ".join(str(rank.sign.rank) for rank in seen)
    return f"ranks {numbers} wait" if len(seen) > 1 else f"rank {numbers} waits"


def _where(rank: Seen) -> str:
    sign = rank.sign
    detail = f", {sign.detail}" if sign.detail else ""
    return f"rank {sign.rank} (process {sign.pid} on node {sign.node[:8]}) in {sign.phase} of step {sign.step}{detail}"
