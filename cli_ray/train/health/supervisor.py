"""The driver while a run goes on: it looks at the ranks, says what they wait for, and passes on the wish to stop.

What a run that does not move waits for, from the last signs of its ranks.

The end of ranks that hear no order: a frozen process, or one whose interpreter is blocked, obeys SIGKILL alone.
"""

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from cli_ray.train.health.heartbeat import BEAT_S, ENDED, Seen, Sign
from cli_ray.train.run_folder import RunFolder

SILENT_S = 15.0
"""A process that lives and computes gives a sign each second; one that gave none for so long is frozen or dead."""


def idle_s(seen: Sequence[Seen]) -> float:
    """Seconds since any rank moved; 0 where none has begun or all have ended."""
    return min((one.idle_s for one in seen if one.sign.phase != ENDED), default=0.0)


def diagnose(seen: Sequence[Seen], free: Mapping[str, float], cluster: ClusterConfig) -> str:
    """Who is at fault, and what to change.

    Args:
        seen: the last signs of ranks that do not move.
        free: resources of the cluster that nobody holds.
        cluster: of the run.
    """
    frozen = [one for one in seen if one.silent_s > SILENT_S]
    starved = [one for one in seen if one.sign.phase == "data" and one not in frozen]
    end = f"After cluster.timeout_s = {cluster.timeout_s} s the run restarts from its last checkpoint."
    if len(frozen) == len(seen):
        return (
            f"no rank has given a sign of life for {min(one.silent_s for one in seen):.0f} s: "
            f"{'; '.join(map(_where, seen))}. Either their processes are frozen (look at their machines), or they have "
            f"ended and new ones find no room beside {free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU "
            f"that are free (add nodes, or end what holds them). {end}"
        )
    if frozen:
        told = "; ".join(f"{_where(one)} has given no sign of life for {one.silent_s:.0f} s" for one in frozen)
        waiting = [one for one in seen if one not in frozen]
        others = f"{_waiting(waiting)}. " if waiting else ""
        return f"{told}. {others}Look at its machine. {end}"
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
    asked = [f"{cluster.min_workers} x {cluster.cpus_per_worker:g} CPU"]
    names = ["CPU"]
    if cluster.gpus_per_worker:
        asked.append(f"{cluster.min_workers} x {cluster.gpus_per_worker:g} GPU")
        names.append("GPU")
    left = ", ".join(f"{free.get(name, 0):g} of {have.get(name, 0):g} {name} free" for name in names)
    if news:
        left += f", and {news}"
    return (
        f"no worker has begun for {waited_s:.0f} s: asked for {' and '.join(asked)}, the cluster has {left}. Lower "
        "cluster.num_workers, cluster.cpus_per_worker or cluster.gpus_per_worker, add nodes, or end what holds them "
        "(workers that have their room may still be loading their libraries). "
        f"cluster.timeout_s = {cluster.timeout_s} s of that end the run; the same command goes on."
    )


def _waiting(seen: Sequence[Seen]) -> str:
    numbers = ", ".join(str(one.sign.rank) for one in seen)
    return f"ranks {numbers} wait" if len(seen) > 1 else f"rank {numbers} waits"


def _where(one: Seen) -> str:
    sign = one.sign
    detail = f", {sign.detail}" if sign.detail else ""
    return f"rank {sign.rank} (process {sign.pid} on node {sign.node[:8]}) in {sign.phase} of step {sign.step}{detail}"


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
