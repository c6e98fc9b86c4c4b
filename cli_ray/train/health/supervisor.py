"""The driver while a run goes on: it looks at the ranks each second, says what they wait for, and passes signals on.

Called by `trainer.train`, which runs `health/restarts.Launch.fit` in a thread of it.

What happens on SIGTERM or SIGINT (Ctrl-C):
1. Here, `Supervisor` takes the signal in the main thread and asks the ranks to stop, through the pulse. A second signal
   ends the driver at once. A trial of a sweep hears of its sweep's signal by `check`.
2. `heartbeat`: each rank hears of it with its next beat.
3. `callbacks/pauser`: the ranks vote, so that all stop after the same step; `callbacks/checkpointer` then writes a
   checkpoint, and `loop` returns.
4. Here, `run` raises StoppedError, and the command ends with 128 + the signal's number.
5. The same command goes on: `worker.build_loop` loads that checkpoint (see `checkpoint/restore`).
Before the ranks are at work there is nothing to save, and the run ends at once. Before and after this `with`, SIGTERM
is a KeyboardInterrupt, by `cli_ray/signals.py`.
"""

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray.exceptions import RayError

from cli_ray import autoscaler
from cli_ray.config import ClusterConfig
from cli_ray.errors import ClusterError, StoppedError
from cli_ray.text import say
from cli_ray.train.health.diagnosis import diagnose, idle_s, unplaced
from cli_ray.train.health.heartbeat import BEAT_S, Seen, Sign
from cli_ray.train.run_folder import RunFolder

LOOK_S = 1.0
GRACE_S = 3 * BEAT_S
"""For ranks that live, which end themselves at their next beat and say why."""
TITLE = b"ray::"
"""How Ray begins the title of its processes; another one has taken over the number of a rank that is gone."""

Summary = dict[str, Any]
Check = Callable[[], signal.Signals | None]


class Supervisor:
    """Runs a fit in a thread, for signals reach the main thread only.

    Args:
        cluster: of the run.
        folder: of the run, for events.
        pulse: the actor that hears of the ranks.
        check: called every second; raises when this driver must not go on, and returns a signal that is meant for it
            and came to another process.
    """

    def __init__(self, cluster: ClusterConfig, folder: RunFolder, pulse: Any, check: Check) -> None:
        self._cluster, self._folder, self._pulse, self._check = cluster, folder, pulse, check
        self._signal: signal.Signals | None = None
        self._passed_on = False
        self._noticed_s = 0.0
        self._moved = time.monotonic()

    def run(self, fit: Callable[[], Summary], abort: Callable[[], None]) -> Summary:
        """What `fit` returns; `abort` ends it where this driver does not go on.

        Raises:
            StoppedError: the run was asked to stop and has.
            ClusterError: its workers found no room.
        """
        result: Future[Summary] = Future()
        thread = threading.Thread(target=_into, args=(result, fit), name="fit", daemon=True)
        with self._signals():
            thread.start()
            try:
                while thread.is_alive():
                    thread.join(LOOK_S)
                    self.look()
            except BaseException:
                abort()
                raise
            summary = result.result()
        if summary.get("pause") == "stopped" and self._signal is not None:
            self._folder.event("stopped", step=summary["step"], signal=self._signal.name)
            raise StoppedError(self._signal, f"stopped at step {summary['step']} after a checkpoint")
        return summary

    def look(self) -> None:
        """Looks at the ranks once, and says or does what is due."""
        self._signal = self._check() or self._signal
        if self._signal is not None and not self._passed_on:
            self._passed_on = True
            say(f"{self._signal.name}: stopping after a checkpoint; a second one ends at once")
            self._pulse.stop.remote(self._signal.name)
        try:
            seen: list[Seen] = ray.get(self._pulse.look.remote(), timeout=10 * LOOK_S)
        except RayError:  # the actor is being restarted, or the run is over
            return
        if not seen:
            self._wait_for_workers()
            return
        self._moved = time.monotonic()
        idle = idle_s(seen)
        if idle >= self._cluster.timeout_s:
            self._restart(seen, diagnose(seen, ray.available_resources(), self._cluster))
        elif self._is_due(idle):
            self._notice("waiting", diagnose(seen, ray.available_resources(), self._cluster))

    def _wait_for_workers(self) -> None:
        """Says what the workers wait for. Ray Train itself would try to place them for ever."""
        if self._signal is not None:
            self._folder.event("stopped", signal=self._signal.name)
            raise StoppedError(self._signal, "stopped while no worker was at work")
        waited = time.monotonic() - self._moved
        if waited < self._cluster.timeout_s and not self._is_due(waited):
            return
        have, free = ray.cluster_resources(), ray.available_resources()
        reason = unplaced(waited, have, free, self._cluster, autoscaler.news())
        if waited >= self._cluster.timeout_s:
            raise ClusterError(f"the run ends, for {reason}")
        self._notice("waiting", reason)

    def _restart(self, seen: list[Seen], reason: str) -> None:
        self._noticed_s = 0.0
        self._notice("restart", f"restarting the workers: {reason}")
        self._pulse.end.remote(f"ended by the driver: {reason}")
        end_ranks([rank.sign for rank in seen])

    def _is_due(self, silent_s: float) -> bool:
        """Whether to say so: at `cluster.notice_s`, and whenever the silence has doubled since."""
        if silent_s < self._cluster.notice_s:
            self._noticed_s = 0.0
            return False
        if silent_s < 2 * self._noticed_s:
            return False
        self._noticed_s = silent_s
        return True

    def _notice(self, kind: str, text: str) -> None:
        say(text)
        self._folder.event(kind, reason=text)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Takes SIGINT and SIGTERM, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)  # Ray ends the workers of a driver that is gone
        self._signal = signal.Signals(number)


def end_ranks(ranks: Sequence[Sign]) -> None:
    """Ends the processes of ranks, each from its own node, and waits for nothing: a node may be gone too.

    A frozen process, or one whose interpreter is blocked, hears no order; it obeys SIGKILL alone.
    """
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


def _into(result: "Future[Summary]", fit: Callable[[], Summary]) -> None:
    try:
        result.set_result(fit())
    except BaseException as error:
        result.set_exception(error)
