"""The end of ranks that hear no order: a frozen process, or one whose interpreter is blocked, obeys SIGKILL alone."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import ray

from cli_ray.train.health.heartbeat import Sign
from cli_ray.train.heartbeat import BEAT_S

GRACE_S = 3 * BEAT_S
"""For ranks that live, which end themselves at their next beat and say why."""
TITLE = b"ray::"
"""How Ray begins the title of its processes; another one has taken over the number of a rank that is gone."""


def end_ranks(ranks: Sequence[Sign]) -> None:
    """Ends the processes of ranks, each from its own node, and waits for nothing: a node may be gone too."""
    by_node: dict[str, list[int]] = defaultdict(list)
    for rank in ranks:
        by_node[rank.node].append(rank.pid)
    for node, pids in by_node.items():
        options = {"num_cpus": 0, "max_retries": 0, "label_selector": {"ray.io/node-id": node}}
        ray.remote(kill).options(**options).remote(pids)


def kill(pids: Sequence[int], grace_s: float = GRACE_S) -> None:
    """Sends SIGKILL to those of Ray's processes that have not ended after a while."""
    until = time.monotonic() + grace_s
    while any(map(_lives, pids)) and time.monotonic() < until:
        time.sleep(grace_s / 10)
    for pid in filter(_lives, pids):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    """Whether it is a process of Ray; one that has ended and is not yet reaped has no title."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(TITLE)
    except OSError:
        return False
