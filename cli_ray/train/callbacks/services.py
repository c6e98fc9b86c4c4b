"""Services that track experiments: Weights & Biases, TensorBoard, MLflow.

A new one is a class with the members of `Service` and a line in `registry`. They are called by `delivery`, each from
one thread that is not that of training, so they may fail or take long.
"""

import io
import os
import re
import socket
import time
from contextlib import suppress
from typing import Any, BinaryIO, ClassVar, Protocol

from PIL import Image

from cli_ray.text import grid, say
from cli_ray.train.callbacks.tracked import Line, Run, State, Table
from cli_ray.train.callbacks.wandb_files import last_step

INIT_S = "30"
"""What wandb waits for its server at the start, where the environment says nothing else; its own 90 s would hold up the
end of a short run."""
_STEP_TAG = "cli_ray.step"
"""Of MLflow's run: the last step that it was given."""
ANSWER_S = "10"
"""What MLflow waits for an answer, where the environment says nothing else; its own 120 s would be tried 7 times."""


def reason(error: Exception) -> str:
    """An error in a line, without the login that an address may hold."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return re.sub(r"://[^/@\s]*@", "://", line)[:500]


def _opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def _markdown(table: Table) -> str:
    rows = [["" if cell is None else str(cell) for cell in row] for row in table.rows]
    return grid(table.head, rows, left=len(table.head))


class Service(Protocol):
    """A service. Any method but `abandon` may raise anything; then `abandon` is called, and `open` some time later."""

    packages: ClassVar[tuple[str, ...]]
    """What has to be installed, as the extras of pyproject.toml say."""

    def open(self, run: Run, first_step: int) -> int | None:
        """Begins, or goes on with, the run.

        Args:
            run: its name, config and id.
            first_step: of the steps to come; later ones that the service knows are of a start that was cut.

        Returns:
            The last step that the service has, 0 for none, so that it is given those alone that it lacks. None where it
            takes steps again, or cannot tell.
        """

    def log(self, line: Line) -> None:
        """Records the metrics of a line, and of its images and tables what the service has a place for."""

    def close(self, state: State) -> None:
        """Ends the run, or this start of it."""

    def abandon(self) -> None:
        """Lets go of a connection that failed."""


class Wandb:
    """Weights & Biases; offline unless WANDB_API_KEY is set."""

    packages: ClassVar = ("wandb",)
    _run: Any = None

    def open(self, run: Run, first_step: int) -> int | None:
        os.environ.setdefault("WANDB_INIT_TIMEOUT", INIT_S)
        import wandb

        reached = last_step(run.local, run.id)
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
        self._run.define_metric("eval/*", step_metric="eval/step")
        reached = max(reached, int(self._run.step) - 1)  # what its server has
        self._step = reached + 1
        return reached

    def log(self, line: Line) -> None:
        import wandb

        images = {name: wandb.Image(_opened(image.png())) for name, image in line.images.items()}
        tables = {
            name: wandb.Table(list(table.head), [list(row) for row in table.rows])
            for name, table in line.tables.items()
        }
        own = {"eval/step": line.step} if "eval/scores" in tables else {}
        # wandb takes no step that lies behind, as that of an evaluated checkpoint does.
        self._step = max(self._step, line.step)
        self._run.log({**line.metrics, **images, **tables, **own, "_timestamp": line.time_s}, step=self._step)

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

    def open(self, run: Run, first_step: int) -> int | None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = run.local / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # Read in the order of their names.
        name = f"events.out.tfevents.{int(now):010d}.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        # TensorBoard then hides what other files say of these steps.
        self._write(Event(wall_time=now, step=first_step, session_log=SessionLog(status=SessionLog.START)))
        return None

    def log(self, line: Line) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.summary_v2 import text_pb

        values = [Summary.Value(tag=name, simple_value=value) for name, value in line.metrics.items()]
        for name, image in line.images.items():
            png = image.png()
            width, height = _opened(png).size
            picture = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
            values.append(Summary.Value(tag=name, image=picture))
        values += [value for name, table in line.tables.items() for value in text_pb(name, _markdown(table)).value]
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
    _takes_files = True

    def open(self, run: Run, first_step: int) -> int | None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", ANSWER_S)
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.local / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        local = None if os.environ.get("MLFLOW_TRACKING_URI") else (run.local / "mlflow-files").as_uri()
        experiment = self._experiment(run.config.log.project, local)
        # Found by our id rather than by MLflow's own, for its answer to `create_run` may be lost on the way.
        known = self._client.search_runs([experiment], f"tags.`cli_ray.id` = '{run.id}'", max_results=1)
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return int(known[0].data.tags.get(_STEP_TAG, 0))
        created = self._client.create_run(experiment, run_name=run.config.name, tags={"cli_ray.id": run.id})
        self._id = created.info.run_id
        return 0

    def log(self, line: Line) -> None:
        from mlflow.entities import Metric, RunTag

        moment = int(line.time_s * 1000)
        metrics = [Metric(name, value, moment, line.step) for name, value in line.metrics.items()]
        tags = [RunTag(_STEP_TAG, str(line.step))] if line.is_step else []
        self._client.log_batch(self._id, metrics=metrics, tags=tags)
        if (line.images or line.tables) and self._takes_files:
            try:
                self._log_files(line)
            except Exception as error:  # a server may store metrics and no files, and metrics go on
                self._takes_files = False
                say(f"log.sinks: mlflow gets metrics, and no images and tables: {reason(error)}")

    def close(self, state: State) -> None:
        ended = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        self._client.set_terminated(self._id, status=ended[state])

    def abandon(self) -> None:
        pass

    def _log_files(self, line: Line) -> None:
        for name, image in line.images.items():
            moment = int(line.time_s * 1000)
            self._client.log_image(self._id, _opened(image.png()), key=name, step=line.step, timestamp=moment)
        for name, table in line.tables.items():
            columns = dict(zip(table.head, zip(*table.rows, strict=True), strict=True))
            content = {title: list(column) for title, column in columns.items()}
            self._client.log_table(self._id, content, f"{name}/step-{line.step:08d}.json")

    def _experiment(self, name: str, files: str | None) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=files))
            except MlflowException:
                experiment = self._client.get_experiment_by_name(name)  # another run may have created it meanwhile
                if experiment is None:
                    raise
        return str(experiment.experiment_id)
