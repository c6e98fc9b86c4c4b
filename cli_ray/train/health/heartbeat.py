"""Signs of life from the ranks of a run to its driver, and orders back.

Each rank has a `Heartbeat`, a thread that sends once a second where the rank is while it computes, waits or hangs. They
meet the driver in the `Pulse`, an actor whose methods return at once. Called by `worker` and `loop` (where am I?), by
the supervisor (where are they?) and by the run lock, for which the one pulse of a run is the lock of the cluster.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError

from cli_ray.train.run_folder import RunFolder

NAMESPACE = "cli_ray"
BEAT_S = 1.0
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
    options = {"name": run_key(folder), "namespace": NAMESPACE, "num_cpus": 0, "max_restarts": -1}
    actor = ray.remote(Pulse).options(**options, label_selector={"ray.io/node-id": here})
    return actor.remote()


def find_pulse(folder: RunFolder) -> Any:
    """The pulse of a run that is going on.

    Raises:
        ValueError: there is none.
    """
    return ray.get_actor(run_key(folder), namespace=NAMESPACE)


Send = Callable[[Sign], Orders | None]
"""Hands a sign to the pulse and returns its orders; None when it cannot be reached."""


class Heartbeat:
    """Sends where a rank is, once a second, and receives orders. Its thread goes on while the rank waits for others.

    Args:
        rank: of this process.
        node: id of its Ray node.
        send: see `send_to`.
        end: ends this process for a reason; see `end_process`.
    """

    def __init__(self, rank: int, node: str, send: Send, end: Callable[[str], object]) -> None:
        self.step = 0
        """The step that the rank is in; the loop sets it."""
        self.stop_reason: str | None = None
        """Why the driver wants a checkpoint and the return of the ranks."""
        self.node = node
        self._rank, self._send, self._end = rank, send, end
        self._life = uuid4().hex
        self._place: tuple[str, str | Callable[[], str], float] = ("starting", "", time.monotonic())
        self._sent: tuple[object, str, float] = (None, "", 0.0)
        """The place of the last sign, its detail, and since when that is so."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def at(self, phase: str, detail: str | Callable[[], str] = "") -> None:
        """Notes where the rank is; each call is progress.

        Args:
            phase: starting, data, step, checkpoint, validation, ...
            detail: what of it. A function is called by the heartbeat, and another text from it is progress too.
        """
        self._place = (phase, detail, time.monotonic())

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def close(self) -> None:
        """Says that the rank has ended, and beats no more."""
        self.at(ENDED)
        self._over.set()
        self._thread.join()
        self.beat()

    def beat(self) -> None:
        """Sends one sign and takes the orders."""
        orders = self._send(self.sign())
        if orders is None:
            return
        self.stop_reason = orders.stop
        if orders.end is not None:
            self._end(orders.end)

    def sign(self) -> Sign:
        """Where the rank is."""
        place = self._place
        phase, detail, since = place
        text = detail() if callable(detail) else detail
        if place is not self._sent[0]:
            self._sent = (place, text, since)
        elif text != self._sent[1]:
            self._sent = (place, text, time.monotonic())
        seconds = time.monotonic() - self._sent[2]
        return Sign(self._rank, self._life, self.node, os.getpid(), phase, text, self.step, seconds)

    def _run(self) -> None:
        while not self._over.is_set():
            self.beat()
            self._over.wait(BEAT_S)


def send_to(pulse: Any) -> Send:
    """Sends signs to an actor, which Ray starts anew should it die before its driver."""

    def send(sign: Sign) -> Orders | None:
        try:
            orders: Orders = ray.get(pulse.beat.remote(sign), timeout=10 * BEAT_S)
        except RayError:
            return None
        return orders

    return send


def end_process(reason: str) -> None:
    """Ends this process, whatever its other threads wait for."""
    sys.stdout.write(f"{reason}\n")
    sys.stdout.flush()
    os._exit(1)


def run_key(folder: RunFolder) -> str:
    """The same for each path that leads to a run folder, and for no other; 32 hexadecimal digits."""
    path = os.path.realpath(folder.path) if folder.is_local else folder.path
    return hashlib.sha256(f"{folder.fs.type_name}:{path}".encode()).hexdigest()[:32]
