"""A pool of model replicas on Ray: each pulls the next batch when it has room. No collective, no barrier.

`cli_ray.evals.generation.replies` runs it over the batches of a whole evaluation. A pull loop instead of Ray Data, so
that one benchmark's failure is its own and a batch that is lost with its replica is done again alone.
"""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from cli_ray.errors import RunFailedError, UserError
from cli_ray.evals.generation.job import Batch, DeviceLostError, Job, PoolState, record_of
from cli_ray.evals.generation.replica import (
    IN_FLIGHT,
    Handle,
    Replica,
    actor_class,
    cause,
    reason_of,
    start,
    without_place,
)
from cli_ray.evals.generation.schedule import Queue
from cli_ray.evals.generation.size import PoolSize
from cli_ray.evals.records import ReplyRecord

LOOK_SECONDS = 2.0
"""Between looks at the size of the cluster."""
FRUITLESS = 50
"""Batches that may fail one after the other, with no record in between, before the run ends."""
PENDING_SECONDS = 20.0
"""How long a replica that may only take spare room may wait for its place and its process."""

OnRecords = Callable[[list[ReplyRecord]], None]


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
        self._spare_only = spare_only
        self._size = PoolSize(job.replica, spare_only=spare_only)
        self._shared_job = ray.put(job)
        self._actors = actor_class(replica_class, job.replica)
        self._replicas: list[Handle] = []
        self._of_stream: dict[Any, Handle] = {}
        self._ready = self._most_ready = self._lost = 0
        self._failed_loads = self._fruitless = 0
        self._failed_at = self._look_at = 0.0
        self._reported: PoolState | None = None

    def resize(self) -> None:
        """Starts replicas that the cluster has room for, at most one for each batch; withdraws those it has not."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        wanted = self._size.wanted(self._size.room(self._ready))
        pending = without_place(self._replicas)
        for handle in self._in_vain(pending, len(self._replicas) - wanted, now):
            self._end(handle)
        missing = min(wanted, self._queue.waiting + len(self._of_stream)) - len(self._replicas)
        if self._spare_only:
            missing = min(missing, self._size.spare(len(pending)))
        for _ in range(missing):
            self._replicas.append(start(self._actors, self._shared_job))
        self._report()

    def _in_vain(self, pending: list[Handle], surplus: int, now: float) -> list[Handle]:
        """Those of the pending replicas that need not wait on: too many for the cluster, or in others' way too long."""
        if self._spare_only:
            return [handle for handle in pending if now - handle.started >= PENDING_SECONDS]
        return pending[: max(0, surplus)]

    def feed(self) -> None:
        """Gives batches to replicas that have room, and ends those for which there is no work."""
        ready = [handle for handle in self._replicas if handle.loading is None]
        for depth in range(IN_FLIGHT):  # those without work come first
            for handle in ready:
                if len(handle.streams) == depth and (
                    taken := self._queue.take(list(handle.streams.values()), len(ready))
                ):
                    self._give(handle, *taken)
        if not self._queue.waiting:
            for handle in [handle for handle in self._replicas if not handle.streams]:
                self._end(handle)

    def _give(self, handle: Handle, ticket: int, batch: Batch) -> None:
        stream = handle.actor.run.options(num_returns="streaming").remote(batch)
        if not handle.streams:
            handle.since = time.monotonic()
        handle.streams[stream] = ticket
        self._of_stream[stream] = handle

    def collect(self) -> None:
        """Waits for something to happen, for a short while at most, and takes in all that did."""
        awaited = [*self._of_stream, *(handle.loading for handle in self._replicas if handle.loading is not None)]
        if not awaited:
            time.sleep(LOOK_SECONDS / 10)
            return
        ready, others = ray.wait(awaited, num_returns=1, timeout=LOOK_SECONDS, fetch_local=False)
        if ready and others:
            ready += ray.wait(others, num_returns=len(others), timeout=0, fetch_local=False)[0]
        for reference in ready:
            if reference in self._of_stream:
                self._take_records(reference)
            else:
                self._take_loaded(reference)

    def close(self) -> None:
        """Ends all replicas."""
        for handle in list(self._replicas):
            self._end(handle)

    def _take_records(self, stream: Any) -> None:
        """Takes in the next records of a batch, or its end."""
        handle = self._of_stream[stream]
        ticket = handle.streams[stream]
        try:
            records = ray.get(next(stream))
        except StopIteration:
            self._drop(handle, stream)
            now = time.monotonic()
            self._give_up(self._queue.finished(ticket, now - handle.since), "its replica gave no record")
            handle.since = now
        except DeviceLostError as error:
            self._lose(handle, reason_of(error))
        except RayTaskError as error:  # the replica lives: a fault of the batch, such as a file that cannot be read
            self._drop(handle, stream)
            self._take_back(ticket, reason_of(error))
        except RayError as error:
            self._lose(handle, reason_of(error))
        else:
            self._fruitless = 0
            self._on_records(records)
            self._queue.recorded(ticket, (record.key for record in records))

    def _take_loaded(self, loading: ObjectRef) -> None:
        """Takes in that a replica has loaded the weights, or failed to."""
        handle = next((handle for handle in self._replicas if handle.loading == loading), None)
        if handle is None:  # ended in the meantime
            return
        try:
            ray.get(loading)
        except UserError as error:
            raise cause(error) from None
        except RayError as error:
            self._take_failed_load(handle, error)
        else:
            self._failed_loads = 0
            handle.loading = None
            self._ready += 1
            self._most_ready = max(self._most_ready, self._ready)
            self._report()

    def _take_failed_load(self, handle: Handle, error: RayError) -> None:
        if handle.started > self._failed_at:  # those that die together, as with their node, are one failure
            self._failed_loads += 1
            self._failed_at = time.monotonic()
        self._lose(handle, reason_of(error))
        if self._failed_loads >= self._job.replica.attempts:
            raise RunFailedError(
                f"{self._failed_loads} replicas in a row failed to load the model {self._job.model}; the last one: "
                f"{reason_of(error)}. If memory is short, give replica.gpus more, or use replica.dtype = bf16"
            ) from error

    def _lose(self, handle: Handle, reason: str) -> None:
        """A replica is dead or of no more use: its batches go back."""
        tickets = list(handle.streams.values())
        self._end(handle)
        self._lost += 1
        for ticket in tickets:
            self._take_back(ticket, f"its replica died: {reason}")
        self._look_at = 0.0
        self._report()

    def _end(self, handle: Handle) -> None:
        for stream in list(handle.streams):
            self._drop(handle, stream)
        self._replicas.remove(handle)
        self._ready -= handle.loading is None
        ray.kill(handle.actor)
        self._report()

    def _take_back(self, ticket: int, reason: str) -> None:
        """A batch failed; ends the run when all do."""
        self._fruitless += 1
        # All replicas may die at once, as with their nodes, and once more.
        if self._fruitless > max(FRUITLESS, 2 * IN_FLIGHT * self._most_ready):
            raise RunFailedError(f"{self._fruitless} batches failed one after the other; the last one: {reason}")
        self._give_up(self._queue.lost(ticket), reason)

    def _give_up(self, batch: Batch | None, reason: str) -> None:
        """Records the one item of a batch as an error."""
        if batch:
            entry = batch.entries[0]
            self._on_records([record_of(batch, entry, self._job, error=reason, attempts=batch.attempts)])

    def _drop(self, handle: Handle, stream: Any) -> None:
        del handle.streams[stream], self._of_stream[stream]

    def _report(self) -> None:
        state = PoolState(self._ready, len(self._replicas) - self._ready, self._lost)
        if self._on_change and state != self._reported:
            self._reported = state
            self._on_change(state)
