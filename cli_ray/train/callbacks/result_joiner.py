"""Results of evaluated checkpoints, joined to metrics.jsonl."""

from typing import TYPE_CHECKING

from cli_ray.data.collate import MicroBatch
from cli_ray.text import say
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.callbacks.evaluations import join_results
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class ResultJoiner(Callback):
    """Looks for new results whenever a checkpoint is written; those that come later are joined by the driver."""

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        if loop.progress.step % loop.config.checkpoint.every == 0:
            try:
                join_results(loop.folder)
            except OSError as error:
                say(f"results of evaluations cannot be joined to metrics.jsonl yet: {error}")
