"""The pulse of a run: an actor between its driver and its ranks. Up go signs of life, down go orders."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError

from cli_ray.train.folder import RunFolder

BEAT_S = 1.0
NAMESPACE = "cli_ray"


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
        self._controller: Any = None

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

    def attach(self, controller: Any) -> None:
        """Keeps the handle of Ray Train's controller."""
        self._controller = controller

    def controller(self) -> Any:
        """The handle, None before there is one."""
        return self._controller


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


class Heartbeat:
    """Sends where a rank is, once a second, and receives orders. Its thread goes on while the rank waits for others.

    Args:
        rank: of this process.
        send: hands a sign to the pulse and returns its orders; see `send_to`.
        end: ends this process for a reason; see `end_process`.
    """

    def __init__(self, rank: int, send: Callable[[Sign], Orders], end: Callable[[str], object]) -> None:
        self.step = 0
        """The step that the rank is in; the loop sets it."""
        self.stop_reason: str | None = None
        """Why the driver wants a checkpoint and the return of the ranks."""
        self._rank, self._send, self._end = rank, send, end
        self._life = uuid4().hex
        self._node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        self._place: tuple[str, str | Callable[[], str], float] = ("starting", "", time.monotonic())
        self._told: tuple[object, str, float] = (None, "", 0.0)
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

    def stop(self) -> None:
        """Ends it."""
        self._over.set()

    def beat(self) -> None:
        """Sends one sign and takes the orders."""
        orders = self._send(self.sign())
        self.stop_reason = orders.stop
        if orders.end is not None:
            self._end(orders.end)

    def sign(self) -> Sign:
        """Where the rank is."""
        place = self._place
        phase, detail, since = place
        text = detail() if callable(detail) else detail
        if place is not self._told[0]:
            self._told = (place, text, since)
        elif text != self._told[1]:
            self._told = (place, text, time.monotonic())
        seconds = time.monotonic() - self._told[2]
        return Sign(self._rank, self._life, self._node, os.getpid(), phase, text, self.step, seconds)

    def _run(self) -> None:
        while not self._over.is_set():
            self.beat()
            self._over.wait(BEAT_S)


def send_to(pulse: Any) -> Callable[[Sign], Orders]:
    """Sends signs to an actor. One that cannot be reached gives no orders: Ray starts it anew, or ends the run."""

    def send(sign: Sign) -> Orders:
        try:
            orders: Orders = ray.get(pulse.beat.remote(sign), timeout=10 * BEAT_S)
        except RayError:
            return Orders(None, None)
        return orders

    return send
