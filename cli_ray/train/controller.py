"""Ray Train's controller, which gives back what it reserved where its workers, or it itself, die.

Ray Train's own (ray/train/v2/_internal/execution/worker_group/worker_group.py, `_start`) gives it back before all
workers are there and after training has begun, and between the two keeps it; Ray then keeps it for as long as the job.
Where the controller dies, a helper gives it back that needs the dashboard.
"""

from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR, get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup, PlacementGroupID

ABORT_S = 30.0
"""For workers to end in order."""
NAMESPACE = b"cli_ray"
"""Of Ray's key-value store, where a controller notes the place of its workers under its own id."""


class Workers(WorkerGroup):
    """A worker group that a failed start leaves nothing of, and whose place the driver knows."""

    def _start(self) -> None:
        try:
            super()._start()
        except Exception:
            if self.has_started():
                self.shutdown()
            raise

    def _create_placement_group(self, *arguments: Any) -> Any:
        handle = super()._create_placement_group(*arguments)
        own = ray.get_runtime_context().get_actor_id()
        _internal_kv_put(own, handle.placement_group.id.hex(), namespace=NAMESPACE)
        return handle


class Controller(TrainController):
    """A controller of such workers."""

    worker_group_cls = Workers


class Trainer(TorchTrainer):
    """A TorchTrainer with such a controller, which stands on the driver's node as Ray Train's own does.

    Args:
        backstop_s: after which it takes workers that do not answer for dead.
    """

    _actor: Any = None

    def __init__(self, *arguments: Any, backstop_s: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._backstop_s = backstop_s

    def _initialize_and_run_controller(self, **arguments: Any) -> Result:
        node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        ours = {
            "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",
            WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR: str(self._backstop_s),
        }
        runtime_env = {"env_vars": ours | get_env_vars_to_propagate()}
        controller = ray.remote(Controller).options(num_cpus=0, label_selector=node, runtime_env=runtime_env)
        self._actor = actor = controller.remote(**arguments)
        try:
            ray.get(actor.run.remote())
            return ray.get(actor.get_result.remote())
        finally:
            self._actor = None  # Ray ends an actor that nobody holds
            give_back(actor._actor_id.hex())

    def abort(self) -> None:
        """Ends a fit of another thread and its workers; they write no checkpoint."""
        actor = self._actor
        if actor is None:
            return
        with suppress(RayError):  # it ends itself, or does not answer
            ray.get(actor.abort.remote(), timeout=ABORT_S)
        ray.kill(actor)


def give_back(controller: str) -> None:
    """Frees the place of a controller's workers, and ends those that outlived it.

    Args:
        controller: id of its actor.
    """
    place = _internal_kv_get(controller, namespace=NAMESPACE)
    if place is not None:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(place.decode()))))
        _internal_kv_del(controller, namespace=NAMESPACE)
