"""A replica without a model, for tests of the pool; in a module that Ray's workers can import."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.errors import UserError
from cli_ray.evals.generation.job import Batch, PoolState, record_of
from cli_ray.evals.generation.pool import run_pool
from cli_ray.evals.generation.replica import Replica
from cli_ray.evals.generation.schedule import Queue, plan
from cli_ray.evals.items.location import Location
from cli_ray.evals.records import ReplyRecord
from tests.evals.generation.charts import NAME, TOKENS, entries_of, job_of, sixteen

TWO = ReplicaConfig(count=2, gpus=0, cpus=1, dtype="fp32", batch_size=4)


class Echo(Replica):
    """Answers each item with its id. One called `poison` kills it, one called `unreadable` cannot be had."""

    def load(self) -> None:
        """Ends as the name of the model says."""
        if self._job.model == "user":
            raise UserError("the model is nowhere")
        if self._job.model == "dies":
            os._exit(1)
        if self._job.model.startswith("fall: "):
            folder = Path(self._job.model.removeprefix("fall: "))
            (folder / f"{os.getpid()}").touch()
            while len(list(folder.iterdir())) < 4:  # until all four are there
                time.sleep(0.01)
            if len(list(folder.iterdir())) == 4:
                time.sleep(0.2)
                os._exit(1)

    def run(self, batch: Batch) -> Iterator[list[ReplyRecord]]:
        """A list for each item."""
        if "unreadable" in {entry.id for entry in batch.entries}:
            raise OSError("the disk is away")
        for entry in batch.entries:
            if entry.id == "poison":
                os._exit(1)
            yield [record_of(batch, entry, self._job, reply=entry.id, finish="stop", attempts=batch.attempts + 1)]


def queue_of(location: Location, replica: ReplicaConfig = TWO, names: Mapping[int, str] | None = None) -> Queue:
    """All items of a location; `names` gives those of some rows another id."""
    entries = [replace(one, id=(names or {}).get(one.row, one.id)) for one in entries_of(location, replica)]
    return Queue(plan(NAME, TOKENS, location.parts, entries, replica, sixteen), replica.attempts)


def echoed(location: Location, names: Mapping[int, str] | None = None) -> tuple[list[ReplyRecord], list[PoolState]]:
    """What a pool of echoes makes of a location, and its states on the way."""
    records: list[ReplyRecord] = []
    states: list[PoolState] = []
    queue = queue_of(location, TWO, names)
    run_pool(queue, job_of("", location, TWO), records.extend, states.append, Echo)
    assert queue.done
    return records, states
