"""The accelerators of the workers, noted in environment.json at each of their starts."""

from typing import TYPE_CHECKING

from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.environment import record_workers

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class EnvironmentRecorder(Callback):
    """Runs on every rank, for each knows its own."""

    def on_start(self, loop: "TrainLoop") -> None:
        record_workers(loop.folder)
