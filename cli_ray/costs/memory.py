"""What a rank holds in memory: its share of weights, masters, gradients and optimiser state, and the activations.

As DeepSpeed holds them under `train.engine.deepspeed_config`, by ZeRO stage. `plan` shows it, `tests/perf/memory.py`
measures it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cli_ray.config import Part, RunConfig
from cli_ray.costs.activations import FP32, Activations
from cli_ray.costs.parameters import Count

BUCKET = 500_000_000
"""Gradients that ranks exchange at once, DeepSpeed's `reduce_bucket_size`."""
GATHERED = 1_000_000_000
"""Parameters that are whole at once at ZeRO stage 3, `stage3_max_live_parameters`."""


@dataclass(frozen=True, slots=True)
class State:
    """Bytes that a rank holds besides activations."""

    weights: int
    """All parameters, in the precision of the run."""
    masters: int
    """Trained parameters in fp32, where the weights are not those."""
    optimizer: int
    """AdamW's two moments, fp32."""
    gradients: int
    """Sums over the micro-batches, fp32."""
    buffers: int
    """While gradients are exchanged and parameters gathered."""
    update: int
    """While the optimiser works, when activations and buffers are free."""

    @property
    def lasting(self) -> int:
        """What stays from step to step."""
        return self.weights + self.masters + self.optimizer + self.gradients

    def peak(self, activations: Activations) -> int:
        """Most that is alive at once."""
        return self.lasting + max(self.buffers + activations.peak, self.update)


def state(parts: Mapping[Part, Count], run: RunConfig, stage: int, workers: int) -> State:
    """What a rank holds at a ZeRO stage.

    Args:
        parts: parameters.
        run: says the precision, and whether ranks have GPUs.
        stage: of ZeRO.
        workers: ranks.
    """
    size, on_gpu = 2 if run.train.precision == "bf16" else FP32, run.cluster.gpus_per_worker > 0
    every, trained = sum(part.all for part in parts.values()), sum(part.trained for part in parts.values())
    largest = max(part.trained for part in parts.values())
    share = workers if stage else 1
    # On a GPU a bucket is allocated whole; host memory counts once it is written to.
    bucket = BUCKET if on_gpu else min(BUCKET, trained)
    buffers, update = 0, 0
    if stage >= 2:
        buffers = bucket * size
    elif workers > 1:
        buffers = min(bucket, trained) * FP32
    if stage == 3:
        buffers += min(every, GATHERED) * size
    if not on_gpu:
        update = 2 * FP32 * largest // share  # torch's AdamW is fused on GPUs alone
    elif stage == 2:
        update = FP32 * largest // share
    if stage == 3:  # each part is updated from a copy of its sums, which stay where they are, as the bucket does
        update += bucket * size + FP32 * largest // share
    return State(
        weights=every * size // (workers if stage == 3 else 1),
        masters=FP32 * trained // share if stage else 0,
        optimizer=2 * FP32 * trained // share,
        gradients=FP32 * trained // (workers if stage >= 2 else 1),
        buffers=buffers,
        update=update,
    )
