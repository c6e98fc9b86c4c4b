"""One replica of the model: the Ray actor, and the handle by which the pool on the driver knows it."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import ObjectRef

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.evals.generation.job import Batch, Job
from cli_ray.evals.records import ReplyRecord

IN_FLIGHT = 2
"""Batches of a replica: one is generated while the next is read, decoded and tokenised."""


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
class Handle:
    """A replica as the driver sees it."""

    actor: Any
    loading: ObjectRef | None
    """Ready when the weights are loaded; None from then on."""
    placed: ObjectRef
    """Ready as soon as it has its place and its process."""
    started: float
    """When it was asked for."""
    streams: dict[Any, int] = field(default_factory=dict)
    """Ticket of the batch that each stream of records belongs to."""
    since: float = 0.0
    """When the batch that it generates began: given, or the end of the one before."""


def actor_class(replica_class: type, config: ReplicaConfig) -> Any:
    """A class such as `Replica` as an actor with the resources of a replica."""
    return ray.remote(replica_class).options(
        num_cpus=config.cpus,
        num_gpus=config.gpus,
        max_concurrency=IN_FLIGHT,
        max_restarts=0,
        # Given explicitly, it also leads out of the placement group of a caller inside Ray Train or Ray Tune.
        scheduling_strategy="SPREAD",
    )


def start(actors: Any, job: ObjectRef) -> Handle:
    """Starts a replica.

    Args:
        actors: made by `actor_class`.
        job: a `Job` in the object store.
    """
    actor = actors.remote(job)
    placed = actor.__ray_ready__.remote()
    return Handle(actor, actor.load.remote(), placed, time.monotonic())


def without_place(handles: list[Handle]) -> list[Handle]:
    """Those that wait for a place in the cluster or for their process."""
    loading = {handle.placed: handle for handle in handles if handle.loading is not None}
    if not loading:
        return []
    _, waiting = ray.wait([*loading], num_returns=len(loading), timeout=0, fetch_local=False)
    return [loading[placed] for placed in waiting]


def cause(error: Exception) -> Exception:
    """What was raised in the replica, without Ray's account of where."""
    inner = getattr(error, "cause", None)
    return inner if isinstance(inner, Exception) else error


def reason_of(error: Exception) -> str:
    """An error in one line of at most 500 characters, without the colours of a terminal."""
    inner = cause(error)
    return " ".join(re.sub(r"\x1b\[\d+m", "", f"{type(inner).__name__}: {inner}").split())[:500]
