"""Ray Train's controller, which gives back what it reserved where its workers die at their start.

Ray Train's own (ray/train/v2/_internal/execution/worker_group/worker_group.py, `_start`) gives it back before all
workers are there and after training has begun, and between the two keeps it; Ray then keeps it for as long as the job.
"""

from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup

ABORT_S = 30.0
"""For workers to end in order."""


class Workers(WorkerGroup):
    """A worker group that a failed start leaves nothing of."""

    def _start(self) -> None:
        try:
            super()._start()
        except Exception:
            if self.has_started():
                self.shutdown()
            raise


class Controller(TrainController):
    """A controller of such workers."""

    worker_group_cls = Workers


class Trainer(TorchTrainer):
    """A TorchTrainer with such a controller, which stands on the driver's node as Ray Train's own does."""

    _actor: Any = None

    def _initialize_and_run_controller(self, **arguments: Any) -> Result:
        node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        runtime_env = {"env_vars": {"RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0"} | get_env_vars_to_propagate()}
        controller = ray.remote(Controller).options(num_cpus=0, label_selector=node, runtime_env=runtime_env)
        self._actor = actor = controller.remote(**arguments)
        try:
            ray.get(actor.run.remote())
            return ray.get(actor.get_result.remote())
        finally:
            self._actor = None  # Ray ends an actor that nobody holds

    def abort(self) -> None:
        """Ends a fit of another thread and its workers; they write no checkpoint."""
        actor = self._actor
        if actor is None:
            return
        with suppress(RayError):  # it ends itself, or does not answer
            ray.get(actor.abort.remote(), timeout=ABORT_S)
        ray.kill(actor)
