"""The lease of a run folder: one driver at a time writes to it.

Within one Ray cluster a named actor is the lock, which is atomic and gone with its driver. Clusters that share the
storage meet in `lease.json`, which its holder renews and removes at the end.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from cli_ray.errors import UserError
from cli_ray.train.run_folder import RunFolder

FILE = "lease.json"
RENEW_S = 10.0
PATIENCE_S = 60.0
"""A holder elsewhere that did not renew its lease for so long is dead."""
LEAST_S = 1.5 * RENEW_S
"""Waited for even then, for the clocks of two hosts may differ."""
LOCK_S = 10.0
"""How long the actor of a driver that was killed may take to go."""


@dataclass(frozen=True)
class Holder:
    """A driver that holds, or held, a run folder."""

    cluster: str
    """Session of its Ray cluster."""
    host: str = field(default_factory=socket.gethostname)
    place: str = field(default_factory=lambda: _place())
    """Where its process id means something; empty when that cannot be told."""
    pid: int = field(default_factory=os.getpid)
    started: str | None = field(default_factory=lambda: _started(os.getpid()))
    """When its process started, so that another one with its number is not taken for it."""
    since: float = 0.0
    renewed: float = 0.0
    id: str = field(default_factory=lambda: uuid4().hex)

    def is_neighbour(self) -> bool:
        """Whether its process can be looked at from here."""
        return bool(self.place) and self.place == _place()

    def lives(self) -> bool:
        """Whether the process of a neighbour is still there."""
        return self.started is not None and _started(self.pid) == self.started

    def told(self, now: float) -> str:
        """Who it is, for messages."""
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return (
            f"process {self.pid} on host {self.host}, since {since}, last sign {max(0, now - self.renewed):.0f} s ago"
        )


class Lease:
    """Held inside its `with`; a thread renews it.

    Args:
        folder: of the run.
        cluster: session of this driver's Ray cluster.
        take_lock: takes the lock of the cluster, whose holders are then known to be dead.
        free_lock: gives it back.
        now: seconds since the epoch.
        sleep: waits for seconds.

    Raises:
        UserError: on entering, when another driver holds the folder.
    """

    def __init__(
        self,
        folder: RunFolder,
        cluster: str,
        take_lock: Callable[[], Any],
        free_lock: Callable[[Any], object],
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._folder, self._now, self._sleep = folder, now, sleep
        self._take_lock, self._free_lock = take_lock, free_lock
        self._own = Holder(cluster, since=now())
        self._rival: Holder | None = None
        self._failed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        holder = _holder(self._folder.read(FILE))
        if holder and holder.is_neighbour() and holder.lives():
            raise self._refusal(holder)
        self.lock = self._locked()
        try:
            self._wait_for_stranger()
            self._write()
        except BaseException:
            self._free_lock(self.lock)
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(RENEW_S)
        try:
            if _holder(self._folder.read(FILE)) == self._own:
                self._folder.delete_file(FILE)
        except OSError as fault:
            print(f"{self._folder.uri}/{FILE} could not be removed: {fault}")
        self._free_lock(self.lock)

    def check(self) -> None:
        """Whether the folder is still held.

        Raises:
            UserError: another driver has taken it, after this one gave no sign of life or at the same moment.
        """
        if self._rival:
            raise self._refusal(self._rival)

    def renew(self) -> None:
        """Gives a sign of life, unless another driver has taken the folder."""
        try:
            holder = _holder(self._folder.read(FILE))
            if holder and holder.id != self._own.id:
                self._rival = holder
            else:
                self._write()
            self._failed = False
        except OSError as error:
            if not self._failed:
                print(f"the lease of {self._folder.uri} could not be renewed, which is tried again: {error}")
            self._failed = True

    def _keep(self) -> None:
        while not self._over.wait(RENEW_S):
            self.renew()

    def _write(self) -> None:
        self._own = replace(self._own, renewed=self._now())
        self._folder.write(FILE, json.dumps(asdict(self._own), indent=2))

    def _locked(self) -> Any:
        """Takes the lock; that of a driver which has just been killed needs a few seconds to go."""
        until = self._now() + LOCK_S
        while True:
            try:
                return self._take_lock()
            except ValueError:
                if self._now() >= until:
                    raise self._refusal(_holder(self._folder.read(FILE))) from None
            self._sleep(0.5)

    def _wait_for_stranger(self) -> None:
        """Waits until a holder elsewhere has ended or is known to be dead."""
        text = self._folder.read(FILE)
        holder = _holder(text)
        if text is None or (holder and (holder.cluster == self._own.cluster or holder.is_neighbour())):
            return
        age = self._now() - holder.renewed if holder else 0.0
        wait = max(LEAST_S, PATIENCE_S - max(0.0, age))
        who = holder.told(self._now()) if holder else f"a driver whose {FILE} is damaged"
        print(f"{self._folder.uri} was left by {who}; waiting {wait:.0f} s for a sign of life")
        until = self._now() + wait
        while text is not None and self._now() < until:
            self._sleep(1.0)
            before, text = text, self._folder.read(FILE)
            if text not in (before, None):
                raise self._refusal(_holder(text))

    def _refusal(self, holder: Holder | None) -> UserError:
        who = holder.told(self._now()) if holder else "a driver of this Ray cluster"
        return UserError(
            f"{self._folder.uri} is in use by {who}: let it end or stop it first, or give this run another name"
        )


def _holder(text: str | None) -> Holder | None:
    """The holder that a file names; None when it is absent or damaged."""
    try:
        return Holder(**json.loads(text)) if text else None
    except (ValueError, TypeError):
        return None


def _place() -> str:
    """This boot of this machine and this PID namespace; empty where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since the boot; None when it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
