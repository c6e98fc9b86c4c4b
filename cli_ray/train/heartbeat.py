"""The heartbeat of a rank: a thread that tells where the rank is while it computes, waits or hangs."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError

from cli_ray.train.health.heartbeat import ENDED, Orders, Sign

BEAT_S = 1.0
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
        self._rank, self._node, self._send, self._end = rank, node, send, end
        self._life = uuid4().hex
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
