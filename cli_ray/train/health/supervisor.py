"""The driver while a run goes on: it looks at the ranks, says what they wait for, and passes on the wish to stop."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ray
from ray.exceptions import RayError

from cli_ray import autoscaler
from cli_ray.config import ClusterConfig
from cli_ray.errors import ClusterError, StoppedError
from cli_ray.train.diagnosis import diagnose, idle_s, unplaced
from cli_ray.train.health.heartbeat import Seen
from cli_ray.train.reaper import end_ranks
from cli_ray.train.run_folder import RunFolder

LOOK_S = 1.0
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
        self._told_s = 0.0
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
            print(f"{self._signal.name}: stopping after a checkpoint; a second one ends at once", flush=True)
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
            self._tell("waiting", diagnose(seen, ray.available_resources(), self._cluster))

    def _wait_for_workers(self) -> None:
        """Tells what the workers wait for. Ray Train itself would try to place them for ever."""
        if self._signal is not None:
            raise StoppedError(self._signal, "stopped while no worker was at work")
        waited = time.monotonic() - self._moved
        if waited < self._cluster.timeout_s and not self._is_due(waited):
            return
        told = unplaced(waited, ray.cluster_resources(), ray.available_resources(), self._cluster, autoscaler.news())
        if waited >= self._cluster.timeout_s:
            raise ClusterError(f"the run ends, for {told}")
        self._tell("waiting", told)

    def _restart(self, seen: list[Seen], reason: str) -> None:
        self._told_s = 0.0
        self._tell("restart", f"restarting the workers: {reason}")
        self._pulse.end.remote(f"ended by the driver: {reason}")
        end_ranks([one.sign for one in seen])

    def _is_due(self, silent_s: float) -> bool:
        """Told at `cluster.notice_s`, and whenever the silence has doubled since."""
        if silent_s < self._cluster.notice_s:
            self._told_s = 0.0
            return False
        if silent_s < 2 * self._told_s:
            return False
        self._told_s = silent_s
        return True

    def _tell(self, kind: str, text: str) -> None:
        print(text, flush=True)
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


def _into(result: "Future[Summary]", fit: Callable[[], Summary]) -> None:
    try:
        result.set_result(fit())
    except BaseException as error:
        result.set_exception(error)
