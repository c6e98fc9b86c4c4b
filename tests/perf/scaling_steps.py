"""The arithmetic of tests.perf.scaling: what one more GPU asks of what all GPUs share. Nothing is measured here.

Legend: R ranks, W samples of a window, B samples of a rank's share of a step.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cli_ray.config import RunConfig

Floats = NDArray[np.float64]
STATISTICS, HEAD = "Ray Data's statistics", "Ray's head"


@dataclass(frozen=True)
class SampleCosts:
    """Measured: one sample on its way from a shard to a micro-batch."""

    encode_s: float
    """CPU seconds of a sample in the stream: read, decode, resize, tokenise, to Arrow."""
    encode_sigma: float
    """Standard deviation of their logarithm."""
    collate_s: float
    """Seconds of a sample in the thread that trains: from Arrow to a micro-batch."""
    collate_sigma: float
    """Standard deviation of the logarithm of a micro-batch's."""
    source_bytes: float
    """Of a sample on the storage."""
    row_bytes: float
    """Of a sample in the object store."""


@dataclass(frozen=True)
class Costs(SampleCosts):
    """Measured: all of them."""

    index_bytes: float
    """Of index.json, per sample of the data."""
    index_s: float
    """To parse it, per sample of the data."""
    beat_s: float
    """Of the pulse, for a message of a rank."""
    look_s: float
    """Of the pulse, for a look at all ranks, per rank."""
    record_s: float
    """Of rank 0, to put the record of a sample's id in order while all wait."""
    record_bytes: float
    """Of that record, as it is sent to rank 0."""
    statistics_s: float | None = None
    """Of Ray Data's one actor of statistics, per window; None where it was not measured."""
    head_s: float | None = None
    """Of Ray's head (GCS), per window; None where it was not measured."""


@dataclass(frozen=True)
class Site:
    """Assumed."""

    tflops: float
    mfu: float
    gpus_per_node: int
    cpus_per_gpu: float
    storage_gb: float
    """GB/s of the cluster's storage, reading and writing alike."""
    storage_files: float
    """Files that it opens in a second."""
    storage_latency_s: float
    """Of one small file."""
    bus_gb: float
    """GB/s at which a collective moves the bytes of a rank."""
    object_store_gb: float
    """Of a node."""
    useful: float
    """Share of a rank's time on the GPU that computes samples; in the rest it waits for other ranks."""


@dataclass(frozen=True)
class Model:
    """Known from the sizes of the model."""

    parameters: int
    trainable: int
    flops: int
    """Forward FLOPs of a sample."""


@dataclass(frozen=True)
class Load:
    """How much of something is asked for, as a share of what there is."""

    name: str
    share: float
    field: str
    """What of the config helps."""
    slows: bool = False
    """All ranks share it and wait for it, so that steps take longer in proportion once the share is above 1."""


@dataclass(frozen=True)
class Scale:
    """A run on so many GPUs, one a rank.

    Args:
        config: of the run; its cluster.num_workers is the number of GPUs.
        loose_files: an image is a file of its own, instead of lying in a shard.
    """

    config: RunConfig
    model: Model
    costs: Costs
    site: Site
    samples: int
    """Of the data."""
    loose_files: bool

    @property
    def ranks(self) -> int:
        """GPUs."""
        return self.config.cluster.max_workers

    @property
    def share(self) -> int:
        """Samples of a rank in a step."""
        return self.config.train.global_batch_size // self.ranks

    @property
    def window(self) -> int:
        """Samples of a window, as the stream rounds them."""
        micro = self.config.train.micro_batch_size
        return math.ceil(self.config.data.window_samples / micro) * micro

    @property
    def cores(self) -> float:
        """Cores that the stream of a rank has and can use at once."""
        data = self.config.data
        tasks = data.prefetch_windows * math.ceil(self.window / data.unit_samples)
        return max(1e-9, min(self.site.cpus_per_gpu - self.config.cluster.cpus_per_worker, tasks))

    @property
    def compute_s(self) -> float:
        """Of a step on a GPU: forward and twice that backward, as MFU counts them, and waiting for other ranks."""
        return 3 * self.model.flops * self.share / (self.site.tflops * 1e12 * self.site.mfu * self.site.useful)

    @property
    def exchange_s(self) -> float:
        """Of a step on the network. ZeRO 3 gathers the weights forward and backward in every micro-batch."""
        accumulated = self.share // self.config.train.micro_batch_size
        weights, gradients = 2 * self.model.parameters, 2 * self.model.trainable
        moved = accumulated * (2 * weights + gradients) if self.config.train.zero_stage == 3 else 2 * gradients
        return moved * (1 - 1 / self.ranks) / (self.site.bus_gb * 1e9)

    @property
    def checkpoint_bytes(self) -> int:
        """fp32 masters and two moments; below ZeRO 3 the bf16 weights too."""
        return self.model.trainable * (12 if self.config.train.zero_stage == 3 else 14)

    @property
    def checkpoint_s(self) -> float:
        """In the background: all ranks write, then rank 0 reads the list of each."""
        return self.checkpoint_bytes / (self.site.storage_gb * 1e9) + self.ranks * self.site.storage_latency_s

    @property
    def index_gb(self) -> float:
        """Read by all ranks at the start."""
        return self.ranks * self.samples * self.costs.index_bytes / 1e9

    @property
    def record_mb(self) -> float:
        """Gathered on rank 0 for a checkpoint."""
        rows = self.config.checkpoint.every * self.config.train.global_batch_size
        return rows * self.costs.record_bytes / 1e6

    @property
    def pulse_per_s(self) -> float:
        """Messages that the pulse can take, with a look at all ranks for one of each."""
        return 1 / (self.costs.beat_s + self.costs.look_s)

    @property
    def object_store_gb(self) -> float:
        """Of a node: the windows that are read ahead and the one that is used up."""
        windows = (self.config.data.prefetch_windows + 1) * min(self.site.gpus_per_node, self.ranks)
        return windows * self.window * self.costs.row_bytes / 1e9


@dataclass(frozen=True)
class Outcome:
    """What a step comes to."""

    step_s: float
    wait_share: float
    """Of a rank's time, in which it waits for its own data."""


def simulate(scale: Scale, seed: int, windows: int) -> Outcome:
    """Steps of all ranks side by side, each of which ends with the rank that waits longest for its data.

    Each rank reads its own windows on its own cores, `data.prefetch_windows` ahead; the first ones, when nothing is
    read yet, are left out of the result.
    """
    draw, costs = np.random.default_rng(seed), scale.costs
    ahead, steps = scale.config.data.prefetch_windows, max(1, scale.window // scale.share)
    on_gpu = max(scale.compute_s, scale.exchange_s)
    now, fetched, ready_R = 0.0, [0.0] * ahead, np.zeros(scale.ranks)
    times, waits = [], []
    for window in range(ahead + 1 + windows):
        work_R = _lognormal(draw, costs.encode_s, costs.encode_sigma, (scale.ranks, scale.window)).sum(1)
        ready_R = np.maximum(ready_R, fetched[window]) + work_R / scale.cores
        fetched.append(now)
        for step in range(steps):
            data_R = scale.share * _lognormal(draw, costs.collate_s, costs.collate_sigma, (scale.ranks,))
            data_R += np.maximum(ready_R - now, 0) if step == 0 else 0
            seconds = on_gpu + float(data_R.max())
            now += seconds
            if window > ahead:
                times.append(seconds)
                waits.append(float(data_R.mean()))
    return Outcome(sum(times) / len(times), sum(waits) / sum(times))


def slowed(outcome: Outcome, all_loads: Sequence[Load]) -> Outcome:
    """The outcome where ranks also wait for what they share."""
    factor = max(1.0, *(load.share for load in all_loads if load.slows))
    return Outcome(outcome.step_s * factor, 1 - (1 - outcome.wait_share) / factor)


def loads(scale: Scale, step_s: float) -> Iterator[Load]:
    """What is asked for, given the seconds of a step that waits for nothing shared."""
    costs, site, rate = scale.costs, scale.site, scale.config.train.global_batch_size / step_s
    yield Load("cores of the stream", needed_cores(scale, step_s) / scale.cores, "cluster.cpus_per_worker lower")
    yield Load("collating in the worker", scale.share * costs.collate_s / step_s, "none")
    yield Load("network", scale.exchange_s / scale.compute_s, "train.micro_batch_size higher, train.zero_stage = 2")
    yield Load("reading, bytes", rate * costs.source_bytes / site.storage_gb / 1e9, "none: smaller images", True)
    files = opened(scale, step_s) / site.storage_files
    yield Load("reading, files", files, "data.sources in shards, then data.unit_samples higher", True)
    every = scale.config.checkpoint.every * step_s
    yield Load("writing checkpoints", scale.checkpoint_s / every, "checkpoint.every higher", True)
    yield Load("record of ids on rank 0", rate * costs.record_s, "log.ids = false")
    store = scale.object_store_gb / site.object_store_gb
    yield Load("object store", store, "data.window_samples, data.prefetch_windows lower")
    yield Load("pulse actor", scale.ranks / scale.pulse_per_s, "none: BEAT_S of train/heartbeat.py")
    for name, seconds in ((STATISTICS, costs.statistics_s), (HEAD, costs.head_s)):
        if seconds is not None:
            yield Load(name, rate / scale.window * seconds, "data.window_samples and data.unit_samples higher", True)


def needed_cores(scale: Scale, step_s: float) -> float:
    """Cores that the stream of one GPU keeps at work."""
    return scale.share / step_s * scale.costs.encode_s


def opened(scale: Scale, step_s: float) -> float:
    """Files that are opened in a second: one a unit, or one an image."""
    rate = scale.config.train.global_batch_size / step_s
    return rate if scale.loose_files else rate / scale.config.data.unit_samples


def _lognormal(draw: np.random.Generator, mean: float, sigma: float, shape: tuple[int, ...]) -> Floats:
    """Draws whose mean is `mean`."""
    return draw.lognormal(math.log(mean) - sigma**2 / 2, sigma, shape)
