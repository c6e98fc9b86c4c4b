"""The sections of a run about the training itself: loop, optimiser, validation, checkpoints, cluster and logs.

A run config holds them; what reads them stands in the training, the doctor and the drill.
"""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section
from cli_ray.config.data import SourceConfig
from cli_ray.registry import SINKS

if TYPE_CHECKING:
    Sink = str
else:
    # A type checker wants the names of a Literal written out.
    Sink = Literal[tuple(SINKS)]

MOST_PROFILED = 20
"""Steps of a trace."""


class ProfileConfig(Section):
    """A trace of some steps, for Perfetto (ui.perfetto.dev)."""

    steps: tuple[int, int] | None = None
    """First and last step to trace, as the log counts them; at most 20, for a trace is kept in memory until it is
    written. Each rank writes a file to `profile/` of the run folder."""

    @model_validator(mode="after")
    def _steps_are_a_short_span(self) -> Self:
        if self.steps is None:
            return self
        first, last = self.steps
        if first < 1:
            raise ValueError(f"steps = {list(self.steps)}: steps are counted from 1, as in the log")
        if first > last:
            raise ValueError(f"steps = {list(self.steps)}: give the first step and then the last")
        if last - first >= MOST_PROFILED:
            raise ValueError(
                f"steps = {list(self.steps)} are {last - first + 1} steps: a trace is kept in memory, so give at most "
                f"{MOST_PROFILED}"
            )
        return self


class TrainConfig(Section):
    """Batches, length and numerics."""

    global_batch_size: int = Field(default=128, ge=1)
    """Samples per optimiser step over all workers; a multiple of lanes x micro_batch_size."""
    micro_batch_size: int = Field(default=4, ge=1)
    """Samples per forward pass without packing, and in validation; the rest of a worker's share is accumulated. The
    order of the data is cut by it either way."""
    packing: bool | None = None
    """Lay the samples of a worker's share of a step end to end into rows of at most pack_tokens, instead of padding
    micro-batches: the same samples and, to rounding, the same losses, faster. When not given, as the run was begun; new
    runs pack. What dropout draws then depends on the number of workers."""
    pack_tokens: int | None = Field(default=None, ge=16)
    """Tokens of a packed row at most, and so what a forward pass takes of a GPU's memory; at least data.max_length.
    When not given, as many as the longest micro-batch has: micro_batch_size x data.max_length."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the data."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimiser steps, before the epochs are over."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed ZeRO stage: 1 shards optimiser states, 2 gradients too, 3 parameters too. 0, which shards nothing, is
    for fp32 alone."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Parameters and activations; masters, optimiser states and the sums of gradients over micro-batches are fp32
    either way."""
    stop_on_nan: bool = True
    """Stop at a gradient that is not finite, naming the samples, instead of training on with broken weights."""
    activation_checkpointing: bool = False
    """Recompute decoder and vision layers in the backward pass (non-reentrant)."""
    profile: ProfileConfig = ProfileConfig()

    @model_validator(mode="after")
    def _stage_fits_precision(self) -> Self:
        # DeepSpeed's optimiser of this pair starts with an AdamW step of zeros, which weakens the first updates and
        # applies weight decay once too often, and adds gradients up in bf16.
        if self.zero_stage == 0 and self.precision == "bf16":
            raise ValueError(
                "zero_stage = 0 keeps no fp32 gradients for precision = 'bf16': set zero_stage = 1, which shards "
                "nothing on one worker either, or precision = 'fp32'"
            )
        return self


def stored_train(values: dict[str, Any]) -> dict[str, Any]:
    """The section as a run stored it, with the meaning it had then.

    A stored section holds every field there was, so without `packing` it is of a run that did not pack.
    """
    return {"packing": False} | values


class ValidationConfig(Section):
    """Loss on held-out samples."""

    sources: tuple[SourceConfig, ...] = ()
    """Held-out sources; none turns validation off."""
    every: int = Field(default=500, ge=1)
    """Steps between validations; one more is done at the end."""
    max_samples: int = Field(default=1024, ge=1)
    """Samples used, the first ones of a fixed order."""


class CheckpointConfig(Section):
    """What is kept of a run."""

    every: int = Field(default=500, ge=1)
    """Steps between checkpoints; one more is written at the end."""
    keep_last: int = Field(default=2, ge=1)
    """Newest checkpoints kept."""
    keep_best: int = Field(default=0, ge=0)
    """Checkpoints of lowest validation loss kept beside them; needs validation.sources."""


class ClusterConfig(Section):
    """What the run takes of the Ray cluster."""

    num_workers: int | tuple[int, int] = 1
    """Ray Train workers (ranks); `[min, max]` takes as many as the cluster has room for, and restarts from the last
    checkpoint when that changes. A run that goes on may have another number, up to its lanes."""
    gpus_per_worker: float = Field(default=1.0, ge=0)
    """GPUs of a worker; 0 trains on CPU."""
    cpus_per_worker: float = Field(default=1.0, gt=0)
    """Logical CPUs of a worker. The stream needs at least one more in the cluster."""
    max_failures: int = Field(default=3, ge=0)
    """Restarts from the last checkpoint after a worker or a node died."""
    notice_s: float = Field(default=60.0, gt=0)
    """Seconds without a step, or without workers, after which the run says what it waits for."""
    timeout_s: int = Field(default=1800, ge=1)
    """Seconds after which workers that do not move are restarted from the last checkpoint, and after which a run whose
    workers find no room ends."""

    @property
    def backstop_s(self) -> int:
        """Seconds after which Ray Train, and torch's collectives, end workers that hang where the driver has not."""
        return self.timeout_s + 120

    @property
    def min_workers(self) -> int:
        """Fewest workers that the run trains with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def max_workers(self) -> int:
        """Most workers that the run trains with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 1 <= self.min_workers <= self.max_workers:
            given = self.num_workers if isinstance(self.num_workers, int) else list(self.num_workers)
            raise ValueError(f"num_workers = {given}: give a number above 0, or [min, max] with 1 <= min <= max")
        return self


class LogConfig(Section):
    """Where metrics go, beside `metrics.jsonl` and one plain line a step."""

    every: int = Field(default=1, ge=1)
    """Steps between log lines."""
    ids: bool = True
    """Record the sample ids of each step in `trained/`, for `cli-ray data verify`."""
    sinks: tuple[Sink, ...] = ()
    """Further sinks. wandb stays offline unless WANDB_API_KEY is set."""
    project: str = "cli_ray"
    """wandb project and MLflow experiment."""


Part = Literal["vision_tower", "projector", "amp", "agf", "llm", "lora"]


class PartConfig(Section):
    """The learning rate of one part of the model."""

    lr: float = Field(default=0.0, ge=0)
    """Peak learning rate; 0 freezes the part."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of matrices; vectors (norms, biases, gates, queries) have none."""


class OptimConfig(Section):
    """AdamW with cosine decay after a linear warm-up."""

    vision_tower: PartConfig = PartConfig()
    projector: PartConfig = PartConfig()
    amp: PartConfig = PartConfig(lr=2e-4)
    agf: PartConfig = PartConfig(lr=2e-4)
    llm: PartConfig = PartConfig()
    lora: PartConfig = PartConfig()
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the two moments."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps over which the rate rises from 0."""
    min_lr_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the peak rate that the cosine ends at."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this global norm."""
