"""One driver at a time per run folder.

Held by `trainer.train` around all that writes to the folder. Three locks, each for drivers that the others do not see:
- on one machine, a locked file in its temporary folder. The kernel frees it when its holder dies, however it dies;
- in one Ray cluster, a named actor (the pulse of the run), which is gone with its driver;
- among clusters that share the storage, `lease.json` in the run folder. Its holder renews it and removes it at the end;
  one that was not renewed for `PATIENCE_S` was left by a dead driver. Only the clock of who waits is asked.
Whoever has the first two knows that the last holder of each is dead, and need not wait for its lease.
"""

import fcntl
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO
from uuid import uuid4

from cli_ray.errors import UserError
from cli_ray.text import say
from cli_ray.train.health.heartbeat import run_key
from cli_ray.train.run_folder import LEASE, PATIENCE_S, RunFolder

RENEW_S = 10.0
ACTOR_S = 10.0
"""How long the actor of a driver that was killed may take to go."""


@dataclass(frozen=True)
class Holder:
    """A driver that holds, or held, a run folder."""

    cluster: str
    """Session of its Ray cluster."""
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: float = 0.0
    renewed: float = 0.0
    id: str = field(default_factory=lambda: uuid4().hex)

    def describe(self, now: float) -> str:
        """Who it is, for messages."""
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return (
            f"process {self.pid} on host {self.host}, since {since}, last sign {max(0, now - self.renewed):.0f} s ago"
        )


class RunLock:
    """Held inside its `with`; a thread renews the lease.

    Args:
        folder: of the run.
        cluster: session of this driver's Ray cluster.
        start_actor: starts the named actor; a ValueError says that there is one.
        end_actor: ends it.
        machine_file: the file to lock, see `machine_file`.
        now: seconds since the epoch.
        sleep: waits for seconds.

    Raises:
        UserError: on entering, when another driver holds the folder.
    """

    def __init__(
        self,
        folder: RunFolder,
        cluster: str,
        start_actor: Callable[[], Any],
        end_actor: Callable[[Any], object],
        machine_file: Path,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._folder, self._machine_file, self._now, self._sleep = folder, machine_file, now, sleep
        self._start_actor, self._end_actor = start_actor, end_actor
        self._own = Holder(cluster, since=now())
        self._rival: Holder | None = None
        self._failed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = stack.enter_context(self._machine_file.open("a+"))
            last_id = self._lock(file)
            self.actor = self._started_actor()
            stack.callback(self._end_actor, self.actor)
            self._wait_for_stranger(last_id)
            self._write()
            file.truncate(0)
            print(self._own.id, end="", file=file, flush=True)
            self._held = stack.pop_all()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(RENEW_S)
        try:
            if _holder(self._folder.read(LEASE)) == self._own:
                self._folder.delete_file(LEASE)
        except OSError as fault:
            say(f"{self._folder.uri}/{LEASE} could not be removed: {fault}")
        self._held.close()

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
            holder = _holder(self._folder.read(LEASE))
            if holder and holder.id != self._own.id:
                self._rival = holder
            else:
                self._write()
            self._failed = False
        except OSError as error:
            if not self._failed:
                say(f"the lease of {self._folder.uri} could not be renewed, which is tried again: {error}")
            self._failed = True

    def _keep_renewing(self) -> None:
        while not self._over.wait(RENEW_S):
            self.renew()

    def _write(self) -> None:
        self._own = replace(self._own, renewed=self._now())
        self._folder.write(LEASE, json.dumps(asdict(self._own), indent=2))

    def _lock(self, file: TextIO) -> str:
        """Locks the file of this machine; the id of the last driver that held the run with it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal(_holder(self._folder.read(LEASE))) from None
        file.seek(0)
        return file.read()

    def _started_actor(self) -> Any:
        """Starts the actor; that of a driver which has just been killed needs a few seconds to go."""
        until = self._now() + ACTOR_S
        while True:
            try:
                return self._start_actor()
            except ValueError:
                if self._now() >= until:
                    raise self._refusal(_holder(self._folder.read(LEASE))) from None
            self._sleep(0.5)

    def _wait_for_stranger(self, last_id: str) -> None:
        """Waits until a holder elsewhere has ended or is known to be dead."""
        text = self._folder.read(LEASE)
        holder = _holder(text)
        if text is None or (holder and (holder.cluster == self._own.cluster or holder.id == last_id)):
            return
        who = holder.describe(self._now()) if holder else f"a driver whose {LEASE} is damaged"
        say(f"{self._folder.uri} was left by {who}; waiting {PATIENCE_S:.0f} s for a sign of life")
        until = self._now() + PATIENCE_S
        while text is not None and self._now() < until:
            self._sleep(1.0)
            before, text = text, self._folder.read(LEASE)
            if text not in (before, None):
                raise self._refusal(_holder(text))

    def _refusal(self, holder: Holder | None) -> UserError:
        who = holder.describe(self._now()) if holder else "another driver"
        return UserError(
            f"{self._folder.uri} is in use by {who}: let it end or stop it first, or give this run another name"
        )


def machine_file(folder: RunFolder) -> Path:
    """The file that this user's drivers of a run lock on this machine."""
    return Path(tempfile.gettempdir(), f"cli_ray-{os.getuid()}-{run_key(folder)}.lock")


def _holder(text: str | None) -> Holder | None:
    """The holder that a file names; None when it is absent or damaged."""
    try:
        return Holder(**json.loads(text)) if text else None
    except (ValueError, TypeError):
        return None
