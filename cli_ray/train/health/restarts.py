"""What restarts a run, and when it is given up.

Called by `trainer.train` as `Launch.fit`, in a thread of the supervisor.

- A worker raised or died, or its node did: Ray Train starts all workers again, and they go on from the last complete
  checkpoint; `cluster.max_failures` times.
- No rank moves for `cluster.timeout_s`: the supervisor ends the ranks, which Ray Train takes as above.
- A worker or its node died before training began, or Ray Train's controller died: `Launch.fit`, `cluster.max_failures`
  times in all.
- The workers found no room: `Launch.fit`, until the supervisor ends the run after `cluster.timeout_s`.
- A node is to be taken away: the ranks write a checkpoint and return, and `Launch.fit` goes on elsewhere, always.
- The same fault came twice at the same step: nobody, the run is given up (see `faults`).
- A signal stopped the run, or its driver died: nobody; the same command, called again, goes on.
"""

from typing import Any
from uuid import uuid4

from ray.exceptions import RayActorError
from ray.train import ControllerError, TrainingFailedError

from cli_ray.config import ClusterConfig, RunConfig
from cli_ray.errors import ClusterError, RunFailedError
from cli_ray.text import last_line, say
from cli_ray.train.health.faults import verdict
from cli_ray.train.ray_train import Trainer, died_at_start, found_no_room, ray_trainer, start_controller
from cli_ray.train.run_folder import RunFolder


class Launch:
    """One call of the command, over all the restarts of its workers.

    Args:
        config: of the run.
        folder: of the run.
        controller: from `start_controller`, for the first of them.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, controller: Any) -> None:
        self._config, self._folder, self._controller = config, folder, controller
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
            controller = self._controller or start_controller(config.cluster.backstop_s)
            self._controller = None
            self._trainer = ray_trainer(config, folder, self._name, controller)
            try:
                summary: dict[str, Any] = self._trainer.fit().return_value
            except RayActorError as error:
                if self._is_aborted:
                    raise
                deaths += 1
                if deaths > config.cluster.max_failures:
                    raise ClusterError(controller_died(error, config.cluster)) from error
                self._restart("Ray Train's controller died (for memory, or with its node)")
                continue
            except TrainingFailedError as error:
                deaths += died_at_start(error)
                if not (found_no_room(error) or died_at_start(error)) or deaths > config.cluster.max_failures:
                    if (reason := verdict(folder, self._name, repeats=1)) is not None:
                        raise RunFailedError(reason) from error
                    raise ClusterError(failure(error, config.cluster)) from error
                if died_at_start(error):
                    self._restart("a worker died while the workers were being started")
                continue
            if summary.get("pause") != "preempted":
                return summary
            say(f"a node is to be taken away: a checkpoint was written at step {summary['step']}, going on elsewhere")
            folder.event("preempted", step=summary["step"])

    def abort(self) -> None:
        """Ends a fit of another thread and its workers, where they are."""
        self._is_aborted = True
        if self._trainer is not None:
            self._trainer.abort()

    def _restart(self, reason: str) -> None:
        say(f"{reason}: starting the workers again")
        self._folder.event("restart", reason=reason)


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
    lines = "".join(f"\n  rank {rank}: {last_line(reason)}" for rank, reason in sorted(failures.items()))
    return (
        f"workers failed more often than cluster.max_failures = {cluster.max_failures} allows, the last time with:"
        f"{lines}\nThe same command goes on from the last checkpoint"
    )
