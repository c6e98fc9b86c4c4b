"""Services that track experiments: Weights & Biases, TensorBoard, MLflow.

A new one is a class with the members of `Service` and a line in `registry`. They are called by `trackers`, each from
one thread that is not that of training, so they may fail or take long.
"""

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, Protocol

from cli_ray.config import RunConfig
from cli_ray.train.run_folder import RunFolder

State = Literal["finished", "stopped", "failed"]
"""How this start of a run ended; a run that was stopped or has failed may go on."""
INIT_S = "30"
"""What wandb waits for its server at the start, where the environment says nothing else; its own 90 s would hold up the
end of a short run."""
ANSWER_S = "10"
"""What MLflow waits for an answer, where the environment says nothing else; its own 120 s would be tried 7 times."""


@dataclass(frozen=True)
class Line:
    """The metrics of a step."""

    step: int
    time_s: float
    """Since 1970."""
    metrics: dict[str, float]


@dataclass(frozen=True)
class Run:
    """What services learn of a run."""

    config: RunConfig
    folder: RunFolder
    id: str
    """The same at each start of the run."""

    @property
    def local(self) -> Path:
        """The run folder, for files.

        Raises:
            OSError: it is on no mounted filesystem.
        """
        if not self.folder.is_local:
            raise OSError(f"its files need a run folder on a mounted filesystem, not {self.folder.uri}")
        return Path(self.folder.path)


class Service(Protocol):
    """A service. Any method but `abandon` may raise anything; then `abandon` is called, and `open` some time later."""

    packages: ClassVar[tuple[str, ...]]
    """What has to be installed, as the extras of pyproject.toml say."""

    def open(self, run: Run, first_step: int) -> None:
        """Begins, or goes on with, the run.

        Args:
            run: its name, config and id.
            first_step: of the lines to come; later ones that the service knows are of a start that was cut.
        """

    def log(self, line: Line) -> None:
        """Records the metrics of a step."""

    def close(self, state: State) -> None:
        """Ends the run, or this start of it."""

    def abandon(self) -> None:
        """Lets go of a connection that failed."""


class Wandb:
    """Weights & Biases; offline unless WANDB_API_KEY is set."""

    packages: ClassVar = ("wandb",)
    _run: Any = None

    def open(self, run: Run, first_step: int) -> None:
        os.environ.setdefault("WANDB_INIT_TIMEOUT", INIT_S)
        import wandb

        self._run = wandb.init(
            project=run.config.log.project,
            name=run.config.name,
            id=run.id,
            resume="allow",
            dir=str(run.local),
            mode="online" if os.environ.get("WANDB_API_KEY") else "offline",
            config=run.config.model_dump(mode="json"),
            # Capturing the output would have the training thread write to wandb's service.
            settings=wandb.Settings(console="off", reinit="create_new"),
        )

    def log(self, line: Line) -> None:
        self._run.log({**line.metrics, "_timestamp": line.time_s}, step=line.step)

    def close(self, state: State) -> None:
        import wandb

        self._run.finish(exit_code=int(state == "failed"))
        wandb.teardown()  # its service writes on after finish, and Ray may end this worker before

    def abandon(self) -> None:
        import wandb

        with suppress(Exception):  # the next `open` starts another service
            wandb.teardown()


class TensorBoard:
    """TensorBoard event files in `tensorboard/` of the run folder, a file a start."""

    packages: ClassVar = ("tensorboard",)
    _file: BinaryIO | None = None

    def open(self, run: Run, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = run.local / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        # TensorBoard then hides what other files say of these steps.
        self._write(Event(wall_time=now, step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def log(self, line: Line) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in line.metrics.items()]
        self._write(Event(wall_time=line.time_s, step=line.step, summary=Summary(value=values)))

    def close(self, state: State) -> None:
        if self._file is not None:
            self._file.close()

    def abandon(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()


class MLflow:
    """MLflow; to MLFLOW_TRACKING_URI when it is set, else `mlflow.db` in the run folder."""

    packages: ClassVar = ("alembic", "mlflow-skinny", "sqlalchemy")

    def open(self, run: Run, first_step: int) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", ANSWER_S)
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.local / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(run.config.log.project)
        # Found by our id rather than by MLflow's own, for its answer to `create_run` may be lost on the way.
        known = self._client.search_runs([experiment], f"tags.`cli_ray.id` = '{run.id}'", max_results=1)
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            created = self._client.create_run(experiment, run_name=run.config.name, tags={"cli_ray.id": run.id})
            self._id = created.info.run_id

    def log(self, line: Line) -> None:
        from mlflow.entities import Metric

        moment = int(line.time_s * 1000)
        metrics = [Metric(name, value, moment, line.step) for name, value in line.metrics.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, state: State) -> None:
        ended = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        self._client.set_terminated(self._id, status=ended[state])

    def abandon(self) -> None:
        pass

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                experiment = self._client.get_experiment_by_name(name)  # another run may have created it meanwhile
                if experiment is None:
                    raise
        return str(experiment.experiment_id)
