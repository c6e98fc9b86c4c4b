"""The hooks of the training loop."""

from typing import TYPE_CHECKING

from cli_ray.data.collate import MicroBatch
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class Callback:
    """One concern beside the training step.

    Callbacks run in the order of their list. Those that use collectives are given to every rank,
    those that only write to rank 0.
    """

    def on_start(self, loop: "TrainLoop") -> None:
        """Before the first step, after a checkpoint was restored."""

    def vote(self, loop: "TrainLoop") -> dict[str, int]:
        """Before a step: numbers whose sums over the ranks are in `loop.votes` after it.

        They travel with what the step reduces anyway. Every rank gives the same names, at every step.
        """
        return {}

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        """After an optimiser step; `metrics` is None between log lines."""

    def on_end(self, loop: "TrainLoop") -> None:
        """After the last step, or the last before the run pauses."""

    def on_error(self, loop: "TrainLoop", error: BaseException) -> None:
        """After an exception, before it is raised again; must not use collectives."""
