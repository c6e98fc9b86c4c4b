"""Ends the loop early, at a step that all ranks agree on: for a signal, or a node that is to be taken away."""

import time

import ray.train

from cli_ray.data.share import Share
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics

LOOK_S = 2.0
"""Between two looks for a node that is to be taken away: `get_preemption_info` is a round of all ranks through Ray."""


class Pauser(Callback):
    """Runs on every rank; stands before the checkpointer, which writes a checkpoint of a run that pauses.

    Ranks hear of a stop at different moments, and one that ended alone would leave the others in a collective: so they
    vote, and all see the same sum.
    """

    def on_start(self, loop: TrainLoop) -> None:
        self._looked = time.monotonic()

    def vote(self, loop: TrainLoop) -> dict[str, int]:
        look = loop.rank == 0 and time.monotonic() - self._looked > LOOK_S
        return {"stop": int(loop.heartbeat.stop_reason is not None), "look": int(look)}

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if loop.votes["stop"]:
            loop.pause = "stopped"
        elif loop.votes["look"]:
            self._looked = time.monotonic()
            if ray.train.get_preemption_info() is not None:
                loop.pause = "preempted"
