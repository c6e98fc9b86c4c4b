"""What a pool of replicas works on, and the records that come of it. Needs neither torch nor ray.

Shared by those who cut the work (`schedule`), hand it out (`pool`) and do it (`predictor`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.data.sample import BadDataError
from cli_ray.evals.records import ReplyRecord

if TYPE_CHECKING:
    from cli_ray.evals.benchmark import Benchmark
    from cli_ray.evals.items.location import Location, Part
    from cli_ray.evals.items.survey import Entry


@dataclass(frozen=True)
class Job:
    """What every replica of an evaluation needs to know."""

    model: str
    """Folder or hub id."""
    model_hash: str
    replica: ReplicaConfig
    locations: Mapping[str, "Location"]
    """By benchmark."""
    revision: str = ""
    """Commit of a hub model, the one that `model_hash` is of."""
    gates: bool = False
    """Whether records say what was injected."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one part of one benchmark that are read and generated together."""

    benchmark: str
    part: "Part"
    entries: tuple["Entry", ...]
    """The longest prompt first."""
    max_new_tokens: int
    cost: float
    """Expected work, in tokens of prefill."""
    attempts: int = 0
    """Replicas that were lost with it so far."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool at a moment."""

    ready: int
    """Replicas that generate."""
    starting: int
    """Replicas that wait for room in the cluster or load the weights."""
    lost: int
    """Replicas that died since the start."""


class DeviceLostError(RuntimeError):
    """The device is in a state that only another process gets out of."""


def decoding(max_new_tokens: int, replica: ReplicaConfig) -> str:
    """How replies are decoded, as records name it."""
    return f"greedy, {max_new_tokens} tokens, {replica.dtype}, {replica.attention}"


def record_of(
    batch: Batch, entry: "Entry", job: Job, *, error: str = "", reply: str = "", **values: Any
) -> ReplyRecord:
    """The record of an entry of a batch, see `recorded`."""
    benchmark, decoded = job.locations[batch.benchmark].benchmark, decoding(batch.max_new_tokens, job.replica)
    return recorded(benchmark, entry, decoded, job.model_hash, error=error, reply=reply, **values)


def recorded(
    benchmark: "Benchmark",
    entry: "Entry",
    decoded: str,
    model_hash: str,
    *,
    error: str = "",
    reply: str = "",
    **values: Any,
) -> ReplyRecord:
    """The record of an entry; with `error`, of one that has no reply."""
    if error:
        values |= {"finish": "error", "error": error}
    return ReplyRecord(
        key=entry.key,
        benchmark=benchmark.name,
        sample_id=entry.id,
        prompts=benchmark.prompts,
        prompt_hash=entry.prompt_hash,
        image_hash=entry.image_hash,
        decoding=decoded,
        model=model_hash,
        reply=reply,
        **values,
    )


def one_line(error: Exception) -> str:
    """An error in one line of at most 500 characters."""
    text = f"{error.reason}: {error.detail}" if isinstance(error, BadDataError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
