"""What a run needs: memory of each GPU, work, time and sizes on disk, from its config and the sizes of its model.

`cli-ray plan` makes an `Estimate`, `page` prints it, and `proposal` makes others of changed configs.
"""

from dataclasses import dataclass
from functools import cached_property

from cli_ray.config import InjectionConfig, Part, RunConfig
from cli_ray.costs.activations import Activations, Batch, activations
from cli_ray.costs.flops import Work, price
from cli_ray.costs.memory import State, state
from cli_ray.costs.parameters import Count, parameters
from cli_ray.costs.sizes import resolve
from cli_ray.errors import UserError
from cli_ray.plan.lengths import Lengths, largest_image, longest, tiles_of
from cli_ray.plan.shape import Shape

TEMPLATE_TOKENS = 32
"""Tokens of a chat around an image that has next to no text."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a worker computes on."""

    name: str
    memory: int
    """Bytes that a worker has."""
    peak: float
    """FLOP/s in bf16; 0 where that is not known."""


@dataclass(frozen=True)
class Estimate:
    """A run on devices."""

    config: RunConfig
    shape: Shape
    injection: InjectionConfig
    """With explicit layers."""
    device: Device
    workers: int
    """Ranks that share the states of the model."""
    lengths: Lengths
    mfu: float

    @cached_property
    def parts(self) -> dict[Part, Count]:
        """Parameters."""
        return parameters(self.shape, self.injection, self.config.optim, self.config.lora)

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The largest forward passes: the one that a run rehearses, full of images, and one of text alone."""
        run, most = self.config, longest(self.config, self.shape)
        tiles, visual = largest_image(run, self.shape, most - TEMPLATE_TOKENS)
        if run.packs:
            tokens = run.train.pack_tokens or run.train.micro_batch_size * most
            count = tokens // (visual + TEMPLATE_TOKENS)
        else:
            tokens, count = run.train.micro_batch_size * most, run.train.micro_batch_size
        images = Batch(tokens, count * tiles, count * visual, max(0, tokens - count * visual))
        cut = tiles_of(self.shape)
        dummy = 1 if cut is None else cut.fewest + 1  # goes with text alone
        return images, Batch(tokens, dummy, 0, tokens)

    @cached_property
    def batch(self) -> Batch:
        """The one that takes most memory."""
        return max(self.batches, key=lambda batch: self._activations(self.config, batch).peak)

    @cached_property
    def activations(self) -> Activations:
        """Of the largest pass."""
        return self._activations(self.config, self.batch)

    @property
    def other_activations(self) -> Activations:
        """The same with activation checkpointing on where it is off, and off where it is on."""
        switched = {"activation_checkpointing": not self.config.train.activation_checkpointing}
        train = self.config.train.model_copy(update=switched)
        return self._activations(self.config.model_copy(update={"train": train}), self.batch)

    def _activations(self, config: RunConfig, batch: Batch) -> Activations:
        return activations(self.shape, self.injection, config, batch)

    def state(self, stage: int) -> State:
        """What a rank holds besides, at a ZeRO stage."""
        return state(self.parts, self.config, stage, self.workers)

    @cached_property
    def memory(self) -> int:
        """Bytes of a rank at most."""
        return self.state(self.config.train.zero_stage).peak(self.activations)

    @property
    def fits(self) -> bool:
        """Whether that is there."""
        return self.memory <= self.device.memory

    @cached_property
    def step_work(self) -> Work:
        """Of one optimiser step, over all ranks."""
        samples = self.config.train.global_batch_size
        work = {name: round(self.lengths.mean(name) * samples) for name in Work.__dataclass_fields__}
        return Work(**work | {"passes": self.passes * self.workers})

    @property
    def passes(self) -> int:
        """Forward passes of a rank in a step."""
        train = self.config.train
        share = train.global_batch_size / self.workers
        if not self.config.packs:
            return max(1, round(share / train.micro_batch_size))
        return max(1, -(-round(share * self.lengths.mean("tokens")) // self.batch.tokens))

    @cached_property
    def step_flops(self) -> int:
        """Forward and backward, without padding and what checkpointing computes again."""
        return self._flops(self.injection)

    @property
    def plain_flops(self) -> int:
        """Of the same step without injection."""
        return self._flops(InjectionConfig(kind="none"))

    def _flops(self, injection: InjectionConfig) -> int:
        return self.step_work.times(price(self.shape, injection, self.config.optim, self.config.lora.rank))

    @property
    def steps(self) -> int | None:
        """Of the whole run; None where nothing tells."""
        train, samples = self.config.train, self.lengths.samples
        if samples is None:
            return train.max_steps
        steps = max(1, round(int(samples / train.global_batch_size) * train.epochs))
        return steps if train.max_steps is None else min(steps, train.max_steps)

    @property
    def step_seconds(self) -> float | None:
        """By the MFU that is assumed; None where the peak of the device is not known."""
        if not self.device.peak:
            return None
        return self.step_flops / (self.workers * self.device.peak * self.mfu)

    @property
    def hours(self) -> float | None:
        """Of the steps; validation, checkpoints and the start are not among them."""
        seconds, steps = self.step_seconds, self.steps
        return None if seconds is None or steps is None else steps * seconds / 3600

    @property
    def checkpoint_size(self) -> int:
        """Bytes of a checkpoint: what is trained, with masters and moments; frozen parts are not in it."""
        size = 2 if self.config.train.precision == "bf16" else 4
        trained = sum(part.trained for part in self.parts.values())
        masters = 4 if self.config.train.zero_stage else 0
        # At stage 3 the masters are all that is stored of the weights.
        weights = size if self.config.train.zero_stage < 3 else 0
        return trained * (weights + masters + 8)

    @property
    def export_size(self) -> int:
        """Bytes of an exported model, adapters merged."""
        size = 2 if self.config.train.precision == "bf16" else 4
        return size * sum(count.all for part, count in self.parts.items() if part != "lora")


def resolved(config: RunConfig, shape: Shape) -> InjectionConfig:
    """The injection of a run with explicit layers.

    Raises:
        UserError: layers that the model does not have, or more tokens than it has positions.
    """
    positions = shape.text_config.max_position_embeddings
    if longest(config, shape) > positions:
        raise UserError(f"data.max_length = {longest(config, shape)}, the language model has {positions} positions")
    if config.data.max_tiles is not None and not shape.image_grid_pinpoints:
        raise UserError("data.max_tiles is set, but the model takes an image as one square: leave it out")
    try:
        return resolve(config.injection, shape)
    except ValueError as error:
        raise UserError(str(error)) from None
