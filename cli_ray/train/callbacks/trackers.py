"""Optional sinks beside metrics.jsonl: wandb, TensorBoard, MLflow."""

import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli_ray.config.train import Sink
from cli_ray.data.collate import MicroBatch
from cli_ray.errors import UserError
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.callbacks.metrics_file import flatten
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class Tracker(Callback):
    """Hands flat metrics to a service. A subclass opens, logs and closes."""

    def open(self, loop: "TrainLoop", folder: Path) -> None:
        """Starts a run; local files go to `folder`."""
        raise NotImplementedError

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Records the metrics of a step."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the run."""
        raise NotImplementedError

    def on_start(self, loop: "TrainLoop") -> None:
        local = Path(loop.folder.path) if loop.folder.is_local else Path(tempfile.mkdtemp())
        self.open(loop, local)

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        if metrics is not None:
            self.log(flatten(metrics, loop.engine.layers), metrics["step"])

    def on_end(self, loop: "TrainLoop") -> None:
        self.close()

    def on_error(self, loop: "TrainLoop", error: BaseException) -> None:
        self.close()


class Wandb(Tracker):
    """Weights & Biases; offline unless WANDB_API_KEY is set."""

    _run: Any = None

    def open(self, loop: "TrainLoop", folder: Path) -> None:
        import wandb

        self._run = wandb.init(
            project=loop.config.log.project,
            name=loop.config.name,
            id=loop.config.name,
            resume="allow",
            dir=str(folder),
            mode="online" if os.environ.get("WANDB_API_KEY") else "offline",
            config=loop.config.model_dump(mode="json"),
        )

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._run.log(metrics, step=step)

    def close(self) -> None:
        if self._run is not None:
            import wandb

            self._run.finish()
            wandb.teardown()  # its service writes on after finish, and Ray may end this worker before


class TensorBoard(Tracker):
    """TensorBoard event files in `tensorboard/` of the run folder."""

    _writer: Any = None

    def open(self, loop: "TrainLoop", folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=loop.progress.step + 1)

    def log(self, metrics: dict[str, float], step: int) -> None:
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class MLflow(Tracker):
    """MLflow; to MLFLOW_TRACKING_URI when it is set, else `mlflow.db` in the run folder."""

    _mlflow: Any = None

    def open(self, loop: "TrainLoop", folder: Path) -> None:
        import mlflow

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        mlflow.set_experiment(loop.config.log.project)
        mlflow.start_run(run_name=loop.config.name)
        self._mlflow = mlflow

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._mlflow.log_metrics(metrics, step=step)

    def close(self) -> None:
        if self._mlflow is not None:
            self._mlflow.end_run()


SINKS: dict[Sink, type[Tracker]] = {"wandb": Wandb, "tensorboard": TensorBoard, "mlflow": MLflow}


def check_sinks(names: Sequence[Sink]) -> None:
    """Finds sinks that are not installed, before a worker starts.

    Raises:
        UserError: with the install line.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"log.sinks names {name!r}, which is not installed: pip install 'cli_ray[{name}]'")
