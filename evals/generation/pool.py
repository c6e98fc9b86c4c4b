"""A pool of model replicas on Ray: each pulls the next batch when it has room. No collective, no barrier."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from cli_ray import autoscaler
from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.errors import RunFailedError, UserError
from cli_ray.evals.generation.job import DeviceLostError, Job, record_of
from cli_ray.evals.generation.schedule import Batch, Queue
from cli_ray.evals.records import ReplyRecord
from cli_ray.room import TIMEOUT_S, Need, held, node_resources, told

IN_FLIGHT = 2
"""Batches of a replica: one is generated while the next is read, decoded and tokenised."""
LOOK_SECONDS = 2.0
"""Between looks at the size of the cluster."""
FRUITLESS = 50
"""Batches that may fail one after the other, with no record in between, before the run ends."""
WAIT_SECONDS = TIMEOUT_S
"""How long a cluster may have no room for any replica, as while its nodes start."""
PENDING_SECONDS = 20.0
"""How long a replica that may only take spare room may wait for its place and its process."""

OnRecords = Callable[[list[ReplyRecord]], None]


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool at a moment."""

    ready: int
    """Replicas that generate."""
    starting: int
    """Replicas that wait for room in the cluster or load the weights."""
    lost: int
    """Replicas that died since the start."""


class Replica:
    """The actor: a model that answers one batch while it prepares another."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._device = threading.Lock()

    def load(self) -> None:
        """Loads the weights; apart from construction, so that its errors come back as they are."""
        from cli_ray.evals.generation.predictor import Predictor

        self._predictor = Predictor(self._job)

    def run(self, batch: Batch) -> Iterator[list[ReplyRecord]]:
        """Records as they are finished."""
        prepared = self._predictor.prepare(batch)
        with self._device:
            yield from self._predictor.generate(prepared)


@dataclass(slots=True)
class _Worker:
    """A replica as the driver sees it."""

    actor: Any
    loading: ObjectRef | None
    up: ObjectRef
    """Ready as soon as it has its place and its process."""
    asked: float
    """When it was asked for."""
    streams: dict[Any, int] = field(default_factory=dict)
    """Ticket of the batch that each stream of records belongs to."""
    since: float = 0.0
    """When the batch that it generates began: given, or the end of the one before."""


def run_pool(
    queue: Queue,
    job: Job,
    on_records: OnRecords,
    on_change: Callable[[PoolState], None] | None = None,
    replica_class: type = Replica,
    *,
    spare_only: bool = False,
) -> None:
    """Generates everything in a queue and returns when each sample has a record. Ray must be connected.

    The pool grows and shrinks with the cluster; replicas and nodes may die, and their batches are done again.

    Args:
        queue: the batches.
        job: model, replicas and places of the items.
        on_records: called in this thread with new records, before anything else is done about them.
        on_change: called when replicas come or go.
        replica_class: the actor; needs `load` and `run`.
        spare_only: start replicas only in room that is free at the moment, and wait for such room however long it
            takes; none stays pending, where it would take what others wait for.

    Raises:
        UserError: the cluster has no room for a replica, or the model cannot be loaded.
        RunFailedError: replicas die while they load the model, or no batch succeeds.
    """
    pool = _Pool(queue, job, on_records, on_change, replica_class, spare_only)
    try:
        while not queue.done:
            pool.resize()
            pool.feed()
            pool.collect()
    finally:
        pool.close()


class _Pool:
    def __init__(
        self,
        queue: Queue,
        job: Job,
        on_records: OnRecords,
        on_change: Callable[[PoolState], None] | None,
        replica_class: type,
        spare_only: bool,
    ) -> None:
        self._queue, self._job, self._on_records, self._on_change = queue, job, on_records, on_change
        self._config, self._spare_only = job.replica, spare_only
        self._shared_job = ray.put(job)
        self._actor_class = ray.remote(replica_class).options(
            num_cpus=self._config.cpus,
            num_gpus=self._config.gpus,
            max_concurrency=IN_FLIGHT,
            max_restarts=0,
            # Said outright, it also leads out of the placement group of a caller inside Ray Train or Ray Tune.
            scheduling_strategy="SPREAD",
        )
        self._workers: list[_Worker] = []
        self._of_stream: dict[Any, _Worker] = {}
        self._ready = 0
        self._failed_loads = 0
        self._failed_at = 0.0
        self._fruitless = 0
        self._most = 0
        self._lost = 0
        self._look_at = 0.0
        self._grows = not spare_only and autoscaler.version() > 0
        self._ceiling = 0
        """Replicas beyond which the autoscaler has no nodes; 0 where it has not said so."""
        self._patience = WAIT_SECONDS if self._config.count or self._grows else 0.0
        self._roomy = time.monotonic()
        self._free = 0
        self._told: PoolState | None = None

    def resize(self) -> None:
        """Starts replicas that the cluster has room for, at most one for each batch."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        room = capacity(self._config)
        if room or self._ready:
            self._roomy, self._patience = now, WAIT_SECONDS
        elif now - self._roomy >= self._patience:
            raise UserError(no_room(self._config))
        spare = self._spare(now) if self._spare_only else None
        asked = self._config.count or (self._grown(room) if self._grows else room)
        wanted = min(asked, self._queue.waiting + len(self._of_stream)) - len(self._workers)
        for _ in range(wanted if spare is None else min(wanted, spare)):
            actor = self._actor_class.remote(self._shared_job)
            up = actor.__ray_ready__.remote()
            self._workers.append(_Worker(actor, actor.load.remote(), up, now))
        self._tell()

    def _grown(self, room: int) -> int:
        """Replicas to ask for where the cluster grows: twice what it holds, until its autoscaler has no nodes for more;
        then those that wait are withdrawn."""
        if self._ceiling and room >= self._ceiling:
            return room
        self._ceiling = 0
        place = self._config.cpus, self._config.gpus
        if room and autoscaler.refuses(*place):
            self._ceiling = room
            loading = {worker.up: worker for worker in self._workers if worker.loading is not None}
            placed = ray.wait([*loading], num_returns=len(loading), timeout=0, fetch_local=False)[0] if loading else []
            for worker in [worker for up, worker in loading.items() if up not in placed]:
                self._end(worker)
            return room
        return max(1, 2 * room)

    def _spare(self, now: float) -> int:
        """Replicas that there is free room for; withdraws those that waited for theirs in vain."""
        loading = {worker.up: worker for worker in self._workers if worker.loading is not None}
        pending = ray.wait([*loading], num_returns=len(loading), timeout=0, fetch_local=False)[1] if loading else []
        for worker in [loading[up] for up in pending]:
            if now - worker.asked >= PENDING_SECONDS:
                self._end(worker)
        # Free at two looks: what is free for a moment may be the place of a training that restarts.
        before, self._free = (
            self._free,
            0 if pending else held(ray.available_resources(), self._config.cpus, self._config.gpus),
        )
        return min(before, self._free)

    def feed(self) -> None:
        """Gives batches to replicas that have room, and ends those for which there is no work."""
        ready = [worker for worker in self._workers if worker.loading is None]
        for depth in range(IN_FLIGHT):  # those without work come first
            for worker in ready:
                if len(worker.streams) == depth and (
                    taken := self._queue.take(list(worker.streams.values()), len(ready))
                ):
                    self._give(worker, *taken)
        if not self._queue.waiting:
            for worker in [worker for worker in self._workers if not worker.streams]:
                self._end(worker)

    def _give(self, worker: _Worker, ticket: int, batch: Batch) -> None:
        stream = worker.actor.run.options(num_returns="streaming").remote(batch)
        if not worker.streams:
            worker.since = time.monotonic()
        worker.streams[stream] = ticket
        self._of_stream[stream] = worker

    def collect(self) -> None:
        """Waits for something to happen, for a short while at most, and takes in all that did."""
        waited = [*self._of_stream, *(worker.loading for worker in self._workers if worker.loading is not None)]
        if not waited:
            time.sleep(LOOK_SECONDS / 10)
            return
        ready, others = ray.wait(waited, num_returns=1, timeout=LOOK_SECONDS, fetch_local=False)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0, fetch_local=False)[0]
        for one in ready:
            if one in self._of_stream:
                self._take_records(one)
            else:
                self._loaded(one)

    def close(self) -> None:
        """Ends all replicas."""
        for worker in list(self._workers):
            self._end(worker)

    def _take_records(self, stream: Any) -> None:
        """Takes in the next records of a batch, or its end."""
        worker = self._of_stream[stream]
        ticket = worker.streams[stream]
        try:
            records = ray.get(next(stream))
        except StopIteration:
            self._drop(worker, stream)
            now = time.monotonic()
            self._give_up(self._queue.finished(ticket, now - worker.since), "its replica gave no record")
            worker.since = now
        except DeviceLostError as error:
            self._lose(worker, _said(error))
        except RayTaskError as error:  # the replica lives: a fault of the batch, such as a file that cannot be read
            self._drop(worker, stream)
            self._take_back(ticket, _said(error))
        except RayError as error:
            self._lose(worker, _said(error))
        else:
            self._fruitless = 0
            self._on_records(records)
            self._queue.recorded(ticket, (record.key for record in records))

    def _loaded(self, loading: ObjectRef) -> None:
        """Takes in that a replica has loaded the weights, or failed to."""
        worker = next((worker for worker in self._workers if worker.loading == loading), None)
        if worker is None:  # ended in the meantime
            return
        try:
            ray.get(loading)
        except UserError as error:
            raise _cause(error) from None
        except RayError as error:
            if worker.asked > self._failed_at:  # those that die together, as with their node, are one failure
                self._failed_loads += 1
                self._failed_at = time.monotonic()
            self._lose(worker, _said(error))
            if self._failed_loads >= self._config.attempts:
                raise RunFailedError(
                    f"{self._failed_loads} replicas in a row failed to load the model {self._job.model}; the last one: "
                    f"{_said(error)}. If memory is short, give replica.gpus more, or use replica.dtype = bf16"
                ) from error
        else:
            self._failed_loads = 0
            worker.loading = None
            self._ready += 1
            self._most = max(self._most, self._ready)
            self._tell()

    def _lose(self, worker: _Worker, reason: str) -> None:
        """A replica is dead or of no more use: its batches go back."""
        tickets = list(worker.streams.values())
        self._end(worker)
        self._lost += 1
        for ticket in tickets:
            self._take_back(ticket, f"its replica died: {reason}")
        self._look_at = 0.0
        self._tell()

    def _end(self, worker: _Worker) -> None:
        for stream in list(worker.streams):
            self._drop(worker, stream)
        self._workers.remove(worker)
        self._ready -= worker.loading is None
        ray.kill(worker.actor)
        self._tell()

    def _take_back(self, ticket: int, reason: str) -> None:
        """A batch failed; ends the run when all do."""
        self._fruitless += 1
        # All replicas may die at once, as with their nodes, and once more.
        if self._fruitless > max(FRUITLESS, 2 * IN_FLIGHT * self._most):
            raise RunFailedError(f"{self._fruitless} batches failed one after the other; the last one: {reason}")
        self._give_up(self._queue.lost(ticket), reason)

    def _give_up(self, batch: Batch | None, reason: str) -> None:
        if batch:
            entry = batch.entries[0]
            self._on_records([record_of(batch, entry, self._job, error=reason, attempts=batch.attempts)])

    def _drop(self, worker: _Worker, stream: Any) -> None:
        del worker.streams[stream], self._of_stream[stream]

    def _tell(self) -> None:
        state = PoolState(self._ready, len(self._workers) - self._ready, self._lost)
        if self._on_change and state != self._told:
            self._told = state
            self._on_change(state)


def capacity(config: ReplicaConfig) -> int:
    """Replicas that the cluster could hold at this moment if nothing else ran on it. GPUs of one node each."""
    return place_of(config).held(node_resources())


def place_of(config: ReplicaConfig) -> Need:
    """What one replica needs."""
    return Need(1, config.cpus, config.gpus)


def no_room(config: ReplicaConfig) -> str:
    """What to say when no node can hold a replica."""
    return (
        f"no node can hold a replica, which takes replica.gpus = {config.gpus:g} and replica.cpus = {config.cpus:g}; "
        f"the cluster's nodes have {told(node_resources())}. Lower those, or add nodes; replica.gpus = 0 runs on CPU"
    )


def _cause(error: Exception) -> Exception:
    """What was raised in the replica, without Ray's account of where."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def _said(error: Exception) -> str:
    """An error in one line of at most 500 characters, without the colours of a terminal."""
    cause = _cause(error)
    return " ".join(re.sub(r"\x1b\[\d+m", "", f"{type(cause).__name__}: {cause}").split())[:500]
