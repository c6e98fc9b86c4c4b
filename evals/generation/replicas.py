"""A model that replicas on the Ray cluster load: its checks, its items read side by side, and its pool. A backend."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from cli_ray.capacity import await_room
from cli_ray.cluster import connect
from cli_ray.config import EvaluationConfig
from cli_ray.errors import UserError
from cli_ray.evals.generation.backend import Missing, OnRecords
from cli_ray.evals.generation.fingerprint import config_of, fingerprint, patterns_of, processor_config_of, resolve
from cli_ray.evals.generation.job import Job, decoding
from cli_ray.evals.generation.lengths import ImageTokens, counted_by, image_tokens
from cli_ray.evals.generation.pool import run_pool
from cli_ray.evals.generation.schedule import Queue, plan
from cli_ray.evals.generation.size import no_room, place_of
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.survey import Entry, scan
from cli_ray.evals.results.progress import Progress
from cli_ray.inference.weights import check_weights


class Replicas:
    """See `Backend`.

    Args:
        config: model and replicas.
        locations: of the items, by benchmark.
        spare_only: start replicas only where the cluster has room at the moment, for others need the rest.

    Raises:
        UserError: the model cannot be loaded.
    """

    def __init__(self, config: EvaluationConfig, locations: Mapping[str, Location], *, spare_only: bool) -> None:
        self._spare_only = spare_only
        values = config_of(config.model)
        patterns = patterns_of(values)
        folder, revision = resolve(config.model, patterns)
        self._tokens = check_model(config, values, folder, revision)
        model_hash = fingerprint(str(folder), patterns)
        self._job = Job(config.model, model_hash, config.replica, locations, revision, config.gates)

    @property
    def model_hash(self) -> str:
        """Of weights and configs."""
        return self._job.model_hash

    def decoding(self, max_new_tokens: int) -> str:
        """See `Backend`."""
        return decoding(max_new_tokens, self._job.replica)

    def connect(self) -> None:
        """Joins the cluster, and waits for room where it grows.

        Raises:
            UserError: there is no room for a replica.
            RunFailedError: the cluster did not grow in time.
        """
        replica = self._job.replica
        connect(replica.cpus * max(1, replica.count))
        if not self._spare_only:
            await_room(place_of(replica), no_room(replica))

    def scan(self, location: Location, decoded: str) -> list[Entry]:
        """The items of a benchmark; its parts are read side by side on the cluster.

        Raises:
            UserError: rows cannot be read.
        """
        if len(location.parts) == 1:
            return scan(location, location.parts[0], decoded, self.model_hash)
        # Given explicitly, "SPREAD" also leads out of the placement group of a caller inside Ray Train or Ray Tune.
        task, shared = ray.remote(scan).options(scheduling_strategy="SPREAD"), ray.put(location)
        tasks = [task.remote(shared, part, decoded, self.model_hash) for part in location.parts]
        try:
            return [entry for entries in ray.get(tasks) for entry in entries]
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, UserError) else error) from None

    def generate(self, missing: Iterable[Missing], on_records: OnRecords, progress: Progress) -> None:
        """Cuts what is missing into batches and has a pool of replicas work through them, with `run_pool`.

        Raises:
            UserError: the cluster has no room for a replica, or the model cannot be loaded.
            RunFailedError: replicas die while they load the model, or no batch succeeds.
        """
        replica = self._job.replica
        # Nothing but the queue holds batches, so that they go as they are done.
        batches = (
            batch
            for one in missing
            for batch in plan(
                one.location.benchmark.name,
                one.location.benchmark.max_new_tokens,
                one.location.parts,
                one.entries,
                replica,
                self._tokens,
            )
        )
        queue = Queue(batches, replica.attempts)
        if not queue.done:
            run_pool(queue, self._job, on_records, progress.replicas, spare_only=self._spare_only)


def check_model(config: EvaluationConfig, values: Mapping[str, Any], folder: Path, revision: str) -> ImageTokens:
    """Faults of model, processor and attention kernels that show before a replica is started.

    Args:
        config: model and replicas.
        values: the content of the model's config.json.
        folder: where it lies on this machine.
        revision: commit of a hub model.

    Returns:
        How the model counts images.

    Raises:
        UserError: a replica could not load it.
    """
    # They import torch, which judging does without.
    from cli_ray.inference.foreign import is_foreign
    from cli_ray.inference.load import read_processor
    from cli_ray.model.attention import check_attention

    check_attention(config.replica.attention, "replica.attention")
    check_weights(folder)
    loaded, processor = read_processor(config.model, revision)
    injection = getattr(loaded, "injection", None)
    if config.gates and not (injection and injection.injected):
        raise UserError(f"gates is set, but {config.model} injects nothing into its decoder: leave --gates out")
    if is_foreign(loaded.model_type):
        return counted_by(processor)
    return image_tokens(values, processor_config_of(config.model))
