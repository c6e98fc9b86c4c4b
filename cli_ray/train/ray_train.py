"""Ray Train as a run uses it: the trainer over `train_rank`, and what Ray Train's errors mean.

Called by `health/restarts`, which decides whether Ray Train tries again. This is the one module that uses private parts
of Ray Train (2.60): its controller, its worker group and two of its errors. To move to another version of Ray, read it
together with `cli_ray/ray_private.py`.

Why we change its controller: what its workers reserved must be free again when they, or the controller, die.
- `WorkerGroup._start` gives it back while workers are missing, and `shutdown` once training has begun. When a worker
  dies between the two nobody does, and the reservation lasts as long as the job. (No upstream issue found.)
- When the controller dies, Ray Train's `PlacementGroupCleaner` gives it back; it needs the dashboard, has a race
  (ray-project/ray issue 62753, open in 2026), and outlives the run where it is killed. Here the driver does it.
Goes: when both are mended upstream. `test_controller.py` fails where they are not.

Why the controller is started with nothing to train: its process takes over a second to load Ray Train, in which the
driver loads what it takes to check the model. And it has no runtime environment, nor have its workers: Ray starts
Python twice for a process that has one, one after the other.
Goes: when Ray Train has a way to start a controller ahead.

Why `Torch` stands for Ray Train's own TorchConfig: with that the controller loads torch before it asks for workers, and
each start waits for it. Here the ranks alone load it, and call what TorchConfig would have them call.
Goes: when Ray Train's controller needs no torch (no upstream issue found).
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray._common.constants import RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR
from ray.exceptions import RayActorError, RayError
from ray.train import (
    ControllerError,
    FailureConfig,
    LoggingConfig,
    Result,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import (
    HEALTH_CHECK_INTERVAL_S_ENV_VAR,
    PREEMPTION_POLL_INTERVAL_S_ENV_VAR,
    WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
    WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR,
    get_env_vars_to_propagate,
)
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup, PlacementGroupID

from cli_ray import ray_private
from cli_ray.config import RunConfig
from cli_ray.console import is_verbose
from cli_ray.text import last_line, say
from cli_ray.train.run_folder import RunFolder

ABORT_S = 30.0
"""For workers to end in order."""
GUESSES = " Some common causes include:"
"""What Ray puts behind the cause of a death, in each such message."""
UNUSED_CALLBACKS = (DatasetsCallback, PlacementGroupCleanerCallback)
"""Of Ray Train, each of which starts an actor: for the datasets of a Trainer, which has none here, and see above."""
CONTROLLERS_OWN = (
    RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR,
    HEALTH_CHECK_INTERVAL_S_ENV_VAR,
    PREEMPTION_POLL_INTERVAL_S_ENV_VAR,
    WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
    WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR,
)
"""Environment variables of Ray Train that its workers do not read."""


def start_controller(backstop_s: float) -> Any:
    """A controller on the driver's node, as Ray Train's own; takes nothing of the cluster before `Trainer.fit`.

    Args:
        backstop_s: after which it takes workers that do not answer for dead.
    """
    node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    ours = {RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR: "0", WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR: str(backstop_s)}
    return ray.remote(Controller).options(num_cpus=0, label_selector=node).remote(ours | get_env_vars_to_propagate())


def ray_trainer(config: RunConfig, folder: RunFolder, launch: str, controller: Any) -> "Trainer":
    """The Ray Train side of a run.

    Checkpoints are written by the workers themselves, not reported to Ray: `ray.train.report` waits for the slowest
    upload, keeps either the newest or the best, and loses its snapshot when the driver dies in the middle of a write.
    Ray restarts workers; they find the last complete checkpoint themselves.

    Args:
        config: of the run.
        folder: of the run.
        launch: names this call of the command, over all the restarts that Ray makes of it.
        controller: a fresh one.
    """
    gpus = config.cluster.gpus_per_worker
    return Trainer(
        train_rank,
        controller=controller,
        train_loop_config={"config": config.model_dump(mode="json"), "launch": launch},
        backend_config=Torch("nccl" if gpus else "gloo", config.cluster.backstop_s),
        scaling_config=ScalingConfig(
            num_workers=config.cluster.num_workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": config.cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=folder.uri,
            # Its controller counts some deaths at the start and not others, so `health/restarts` counts them.
            failure_config=FailureConfig(max_failures=config.cluster.max_failures, controller_failure_limit=0),
            callbacks=[RankFaults(folder.uri)],
            logging_config=LoggingConfig(log_level="INFO" if is_verbose() else "WARNING"),
        ),
    )


def train_rank(arguments: dict[str, Any]) -> dict[str, Any]:
    """See `train_worker`.

    Imported here alone, for the controller loads this module before it asks for workers, and needs no model for that.
    """
    from cli_ray.train.worker import train_worker

    return train_worker(arguments)


def found_no_room(error: TrainingFailedError) -> bool:
    """Whether Ray Train waited in vain to place the workers. The supervisor ends a run that waits for too long."""
    return isinstance(error, ControllerError) and isinstance(error.controller_failure, WorkerGroupStartupTimeoutError)


def died_at_start(error: TrainingFailedError) -> bool:
    """Whether a worker or its node died before training began, for which Ray Train has no budget."""
    deaths = (RayActorError, WorkerGroupStartupFailedError)
    return isinstance(error, ControllerError) and isinstance(error.controller_failure, deaths)


class RankFaults(UserCallback):
    """Tells of errors of ranks, after which Ray Train starts all of them again or gives up; in its controller.

    The ranks themselves have printed their tracebacks.

    Args:
        uri: of the run folder.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Adds the event."""
        errors = [f"rank {rank}: {_cause(error)}" for rank, error in sorted(worker_exceptions.items())]
        say(f"a rank failed: {'; '.join(errors)}")
        RunFolder(self._uri).event("fault", reason="; ".join(errors))


def _cause(error: Exception) -> str:
    """An error in a line, without Ray's guesses at why a process died."""
    return f"{type(error).__name__}: {last_line(error).partition(GUESSES)[0]}"


@dataclass
class Torch(BackendConfig):
    """The process group of the ranks."""

    backend: str
    timeout_s: float

    @property
    def backend_cls(self) -> type[Backend]:
        return TorchBackend


class TorchBackend(Backend):
    """What the controller does for `Torch`."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Torch) -> None:
        """Joins the ranks."""
        place = worker_group.execute_single(0, get_address_and_port)
        worker_group.execute(join_group, place, backend_config)


def join_group(place: tuple[str, int], config: Torch) -> None:
    """Called on each rank, all at once.

    Args:
        place: address and port of rank 0.
    """
    from cli_ray.data.reading import begin_reader

    begin_reader()  # which loads what it takes while this rank loads torch
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group

    address, port = place
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    _set_torch_distributed_env_vars()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    _setup_torch_process_group(config.backend, rank, size, "env://", config.timeout_s)


class Trainer(DataParallelTrainer):
    """Ray Train's trainer with a `Controller` that has been started.

    Args:
        controller: from `start_controller`.
    """

    def __init__(self, *arguments: Any, controller: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._actor = controller

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if not isinstance(one, UNUSED_CALLBACKS)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Result:
        actor = self._actor
        try:
            ray.get(actor.prepare.remote(**arguments))
            ray.get(actor.run.remote())
            return ray.get(actor.get_result.remote())
        finally:
            self._actor = None  # Ray ends an actor that nobody holds
            give_back(ray_private.actor_id(actor))

    def abort(self) -> None:
        """Ends a fit of another thread and its workers; they write no checkpoint."""
        actor = self._actor
        if actor is None:
            return
        with suppress(RayError):  # it ends itself, or does not answer
            ray.get(actor.abort.remote(), timeout=ABORT_S)
        ray.kill(actor)


class Workers(WorkerGroup):
    """A worker group that leaves nothing reserved when its start fails, and whose reservation the driver knows. Its
    workers have a runtime environment only where someone set a variable of Ray Train for them."""

    def _start(self) -> None:
        try:
            super()._start()
        except Exception:
            if self.has_started():
                self.shutdown()
            raise

    def _create_placement_group(self, *arguments: Any) -> Any:
        handle = super()._create_placement_group(*arguments)
        controller = ray.get_runtime_context().get_actor_id()
        ray_private.put_note(controller, handle.placement_group.id.hex())
        return handle

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> Any:
        others = {name: value for name, value in get_env_vars_to_propagate().items() if name not in CONTROLLERS_OWN}
        return custom_runtime_env | ({"env_vars": others} if others else {})


class Controller(TrainController):
    """A controller of such workers, which is told what to train once its process is there.

    Args:
        environment: environment variables of Ray Train's.
    """

    worker_group_cls = Workers

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ |= environment

    def prepare(self, **arguments: Any) -> None:
        """Takes the arguments of Ray Train's own."""
        super().__init__(**arguments)


def give_back(controller: str) -> None:
    """Frees what a controller's workers reserved, and ends those that outlived it.

    Args:
        controller: id of its actor.
    """
    reserved = ray_private.take_note(controller)
    if reserved is not None:
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(reserved))))
