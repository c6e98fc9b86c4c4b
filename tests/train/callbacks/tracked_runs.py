"""What wandb, TensorBoard and MLflow have of a run, read back from their files; and a run that is killed."""

import json
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator

from cli_ray.config.train import Sink
from cli_ray.data.share import Share
from cli_ray.train.callbacks.log import MetricsFile
from cli_ray.train.callbacks.trackers import Tracker
from cli_ray.train.callbacks.wandb_files import records
from tests.train.callbacks.test_callbacks import METRICS, loop_at


def wandb_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's history over all its offline files, in the order of their steps."""
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in records(file):
            if record.HasField("history"):
                items = record.history.item
                rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return sorted(rows, key=lambda row: int(row["_step"]))


def tensorboard_of(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={TENSORS: 0}).Reload()


def mlflow_of(folder: Path) -> tuple[MlflowClient, Any]:
    """The client, and the one run."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    return client, run


def losses(name: Sink, folder: Path) -> dict[int, list[float]]:
    """Every loss that a service has of each step."""
    found = defaultdict(list)
    if name == "wandb":
        for row in wandb_rows(folder):
            if "loss" in row:
                found[int(row["_step"])].append(row["loss"])
    elif name == "tensorboard":
        for event in tensorboard_of(folder).Scalars("loss"):
            found[event.step].append(event.value)
    else:
        client, run = mlflow_of(folder)
        for point in client.get_metric_history(run.info.run_id, "loss"):
            found[point.step].append(point.value)
    return dict(found)


def log_and_die(name: Sink, folder: Path, last: int) -> None:
    """Logs some steps as the run's first start, and dies by SIGKILL once the service was given them all."""
    loop = loop_at(folder, step=0)
    loop.folder.event("begin", checkpoint=None, workers=1)
    tracker = Tracker(name)
    callbacks = (MetricsFile(), tracker)
    for callback in callbacks:
        callback.on_start(loop)
    for step in range(1, last + 1):
        for callback in callbacks:
            callback.on_step(loop, Share(), {**METRICS, "step": step, "loss": step / 8})
    delivery = tracker._delivery
    assert delivery is not None
    until = time.monotonic() + 60
    while delivery._lines and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    log_and_die(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
