"""Ray Train's side of a run: starting it, again where a node goes, and saying why it gave up."""

from typing import Any
from uuid import uuid4

import ray.train
from ray.exceptions import RayActorError
from ray.train import ControllerError, FailureConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError

from cli_ray.config import ClusterConfig, RunConfig
from cli_ray.errors import ClusterError, RunFailedError
from cli_ray.train.controller import Trainer
from cli_ray.train.health.faults import verdict
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.worker import train_worker


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
