"""Ray Train's side of a run: starting it, again where a node goes, and saying why it gave up.

Ray Train's controller, which gives back what it reserved where its workers, or it itself, die.

Ray Train's own (ray/train/v2/_internal/execution/worker_group/worker_group.py, `_start`) gives it back before all
workers are there and after training has begun, and between the two keeps it; Ray then keeps it for as long as the job.
Where the controller dies, a helper gives it back that needs the dashboard.
"""

from contextlib import suppress
from typing import Any
from uuid import uuid4

import ray
import ray.train
from ray.exceptions import RayActorError, RayError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.train import ControllerError, FailureConfig, Result, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.constants import WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR, get_env_vars_to_propagate
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup, PlacementGroupID

from cli_ray.config import ClusterConfig, RunConfig
from cli_ray.errors import ClusterError, RunFailedError
from cli_ray.train.health.faults import verdict
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.worker import train_worker

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


class Launch:
    """One call of the command, over all the restarts that Ray makes of it."""

    def __init__(self, config: RunConfig, folder: RunFolder) -> None:
        self._config, self._folder = config, folder
        self._name = uuid4().hex
        self._trainer: Trainer | None = None
        self._is_aborted = False

    def fit(self) -> dict[str, Any]:
        """Trains to the end or to a stop, from node to node when one is taken away.

        Raises:
            RunFailedError: a fault came again on the same samples.
            ClusterError: workers or controllers died too often, or could not be started.
        """
        config, folder, deaths = self._config, self._folder, 0
        while True:
            self._trainer = ray_trainer(config, folder, self._name)
            try:
                summary: dict[str, Any] = self._trainer.fit().return_value
            except RayActorError as error:
                if self._is_aborted:
                    raise
                deaths += 1
                if deaths > config.cluster.max_failures:
                    raise ClusterError(controller_died(error, config.cluster)) from error
                self._again("Ray Train's controller died (for memory, or with its node)")
                continue
            except TrainingFailedError as error:
                deaths += died_at_start(error)
                if not (found_no_room(error) or died_at_start(error)) or deaths > config.cluster.max_failures:
                    if (told := verdict(folder, self._name, repeats=1)) is not None:
                        raise RunFailedError(told) from error
                    raise ClusterError(failure(error, config.cluster)) from error
                if died_at_start(error):
                    self._again("a worker died while the workers were being started")
                continue
            if summary.get("pause") != "preempted":
                return summary
            print(f"a node is to be taken away: a checkpoint was written at step {summary['step']}, going on elsewhere")
            folder.event("preempted", step=summary["step"])

    def _again(self, reason: str) -> None:
        print(f"{reason}: starting the workers again", flush=True)
        self._folder.event("restart", reason=reason)

    def abort(self) -> None:
        """Ends a fit of another thread and its workers, where they are."""
        self._is_aborted = True
        if self._trainer is not None:
            self._trainer.abort()


def found_no_room(error: TrainingFailedError) -> bool:
    """Whether Ray Train waited in vain to place the workers. The supervisor ends a run that waits for too long."""
    return isinstance(error, ControllerError) and isinstance(error.controller_failure, WorkerGroupStartupTimeoutError)


def died_at_start(error: TrainingFailedError) -> bool:
    """Whether a worker or its node died before training began, for which Ray Train has no budget."""
    deaths = (RayActorError, WorkerGroupStartupFailedError)
    return isinstance(error, ControllerError) and isinstance(error.controller_failure, deaths)


def controller_died(error: RayActorError, cluster: ClusterConfig) -> str:
    """What to say when it did so too often."""
    return (
        f"Ray Train's controller died more often than cluster.max_failures = {cluster.max_failures} allows, the last "
        f"time with: {' '.join(str(error).split())}\nThe same command goes on from the last checkpoint"
    )


def failure(error: TrainingFailedError, cluster: ClusterConfig) -> str:
    """Why Ray Train gave up, in a few lines."""
    if died_at_start(error):
        return (
            f"workers died at their start more often than cluster.max_failures = {cluster.max_failures} allows: {error}"
        )
    if isinstance(error, ControllerError):
        return f"the workers could not be started: {error.controller_failure}"
    failures = getattr(error, "worker_failures", {})
    told = "".join(f"\n  rank {rank}: {str(one).strip().splitlines()[-1]}" for rank, one in sorted(failures.items()))
    return (
        f"workers failed more often than cluster.max_failures = {cluster.max_failures} allows, the last time with:"
        f"{told}\nThe same command goes on from the last checkpoint"
    )


def ray_trainer(config: RunConfig, folder: RunFolder, launch: str) -> Trainer:
    """The Ray Train side of a run.

    `launch` names this call of the command, over all the restarts that Ray makes of it.

    Checkpoints are written by the workers themselves, not reported to Ray: `report` waits for the
    slowest upload, keeps either the newest or the best, and loses its snapshot when the driver dies
    in the middle of a write. Ray restarts workers; they find the last complete checkpoint themselves.
    """
    gpus = config.cluster.gpus_per_worker
    return Trainer(
        train_worker,
        backstop_s=config.cluster.backstop_s,
        train_loop_config={"config": config.model_dump(mode="json"), "launch": launch},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=config.cluster.backstop_s),
        scaling_config=ScalingConfig(
            num_workers=config.cluster.num_workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": config.cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=folder.uri,
            # Tries are counted in `fit`, for a controller counts some deaths at the start and not others.
            failure_config=FailureConfig(max_failures=config.cluster.max_failures, controller_failure_limit=0),
        ),
    )
