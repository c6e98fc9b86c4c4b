"""The pulse of a run: an actor between its driver and its ranks. Up go signs of life, down go orders."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from cli_ray.train.run_folder import RunFolder

NAMESPACE = "cli_ray"
ENDED = "ended"
"""The phase of a rank that returned or raised."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life of a rank: where it is."""

    rank: int
    life: str
    """Of this process; a restarted rank has another one."""
    node: str
    pid: int
    phase: str
    detail: str
    step: int
    seconds: float
    """Since it came there."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The last sign of a rank."""

    sign: Sign
    silent_s: float
    """Since it came."""

    @property
    def idle_s(self) -> float:
        """Seconds without progress."""
        return self.sign.seconds + self.silent_s


@dataclass(frozen=True, slots=True)
class Orders:
    """What the driver wants of a rank."""

    stop: str | None
    """Why to take a checkpoint and return."""
    end: str | None
    """Why to end the process at once, so that Ray Train starts the ranks anew."""


class Pulse:
    """Ray makes an actor of it; each of its methods returns at once.

    Args:
        now: seconds of a clock that is never set.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._signs: dict[int, tuple[Sign, float]] = {}
        self._stop: str | None = None
        self._ended: dict[str, str] = {}

    def beat(self, sign: Sign) -> Orders:
        """Takes a sign of life; a rank with a new life means that the group was started anew."""
        end = self._ended.get(sign.life)
        if end is None:
            last = self._signs.get(sign.rank)
            if last and last[0].life != sign.life:
                self._signs.clear()
            self._signs[sign.rank] = (sign, self._now())
        return Orders(self._stop, end)

    def look(self) -> list[Seen]:
        """The last sign of each rank, by rank."""
        now = self._now()
        return [Seen(sign, now - at) for _, (sign, at) in sorted(self._signs.items())]

    def stop(self, reason: str | None) -> None:
        """Asks the ranks for a checkpoint and their return; None takes that back."""
        self._stop = reason

    def end(self, reason: str) -> None:
        """Asks the processes of the present ranks to end at once."""
        self._ended |= {sign.life: reason for sign, _ in self._signs.values()}
        self._signs.clear()


def start_pulse(folder: RunFolder) -> Any:
    """Starts the pulse of a run on this node; it ends with this driver.

    Raises:
        ValueError: the run has one already.
    """
    here = ray.get_runtime_context().get_node_id()
    options = {"name": _name(folder), "namespace": NAMESPACE, "num_cpus": 0, "max_restarts": -1}
    actor = ray.remote(Pulse).options(**options, label_selector={"ray.io/node-id": here})
    return actor.remote()


def find_pulse(folder: RunFolder) -> Any:
    """The pulse of a run that is going on.

    Raises:
        ValueError: there is none.
    """
    return ray.get_actor(_name(folder), namespace=NAMESPACE)


def _name(folder: RunFolder) -> str:
    path = os.path.realpath(folder.path) if folder.is_local else folder.path
    return hashlib.sha256(f"{folder.fs.type_name}:{path}".encode()).hexdigest()[:32]
