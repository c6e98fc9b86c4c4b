"""The driver: prepares the run folder, checks the cluster and starts Ray Train."""

import json
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from cli_ray.cluster import connect, refuse_to_lose
from cli_ray.config import ClusterConfig, DataConfig, RunConfig, SourceConfig
from cli_ray.data.conversation import Encoder
from cli_ray.data.index import Index, build_index
from cli_ray.errors import RunFailedError, UserError
from cli_ray.model.build import check_injection, load_processor
from cli_ray.train.callbacks.trackers import check_sinks
from cli_ray.train.environment import environment
from cli_ray.train.evaluator import Evaluator
from cli_ray.train.folder import RunFolder
from cli_ray.train.lease import Lease
from cli_ray.train.pulse import start_pulse
from cli_ray.train.rehearsal import longest_batch
from cli_ray.train.supervisor import supervise
from cli_ray.train.worker import train_worker


def train(config: RunConfig) -> dict[str, Any]:
    """Trains a run, or goes on with it when its folder exists.

    Returns:
        The progress at the end, with `validation_loss` and the run folder's URI.

    Raises:
        UserError: config, data and cluster do not fit each other; says which field to change. Or another driver
            trains in the run folder.
        RunFailedError: the run stopped itself; says why.
        StoppedError: SIGTERM or SIGINT stopped it after a checkpoint.
    """
    refuse_to_lose("--runs-dir", config.runs_dir)
    config = with_absolute_paths(config)
    check_sinks(config.log.sinks)
    check_model(config)
    folder = RunFolder(config.folder)
    evaluator = Evaluator(config, folder)
    connect(config.cluster.num_workers * config.cluster.cpus_per_worker)
    check_resources(config.cluster)
    with lease_of(folder) as lease:
        prepare(config, folder)
        lease.check()
        with evaluator:
            summary: dict[str, Any] = supervise(
                fit=lambda: ray_trainer(config, folder).fit().return_value,
                stop=lambda reason: lease.lock.stop.remote(reason),
                check=lease.check,
            )
        folder.event("end", **summary)
    if "error" in summary:
        raise RunFailedError(summary["error"])
    return summary


def lease_of(folder: RunFolder) -> Lease:
    """The lease of a run folder, with the pulse of the run as the lock of the cluster."""
    session = ray.get_runtime_context().get_session_name()
    return Lease(folder, session, take_lock=lambda: start_pulse(folder), free_lock=ray.kill)


def prepare(config: RunConfig, folder: RunFolder) -> None:
    """Config, indices and environment in the run folder.

    Raises:
        UserError: the folder holds another run, or the data cannot be read or changed.
    """
    resumed = folder.claim(config)
    prepare_index(folder, "index.json", config.data)
    if config.validation.sources:
        prepare_index(folder, "validation-index.json", config.validation_data)
    folder.write("environment.json", json.dumps(environment(), indent=2))
    folder.event("resume" if resumed else "start")


def check_model(config: RunConfig) -> None:
    """Faults of model, processor and lengths that show before a worker, or a GPU, is taken.

    Raises:
        UserError: layers that do not exist, a chat template that cannot be used, no room for an image.
    """
    check_injection(config.model, config.injection)
    longest_batch(Encoder(load_processor(config.model), config.data), config)


def ray_trainer(config: RunConfig, folder: RunFolder) -> TorchTrainer:
    """The Ray Train side of a run.

    Checkpoints are written by the workers themselves, not reported to Ray: `report` waits for the
    slowest upload, keeps either the newest or the best, and loses its snapshot when the driver dies
    in the middle of a write. Ray restarts workers; they find the last complete checkpoint themselves.
    """
    gpus = config.cluster.gpus_per_worker
    return TorchTrainer(
        train_worker,
        train_loop_config={"config": config.model_dump(mode="json")},
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=config.cluster.timeout_s),
        scaling_config=ScalingConfig(
            num_workers=config.cluster.num_workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": config.cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=folder.uri,
            failure_config=FailureConfig(max_failures=config.cluster.max_failures),
        ),
    )


def check_resources(cluster: ClusterConfig) -> None:
    """Compares what the run asks for with what the cluster has.

    Raises:
        UserError: it asks for more, or leaves no CPU to the stream, which would wait for ever.
    """
    have = ray.cluster_resources()
    cpus = cluster.num_workers * cluster.cpus_per_worker
    gpus = cluster.num_workers * cluster.gpus_per_worker
    if gpus > have.get("GPU", 0):
        raise UserError(
            f"cluster.num_workers x cluster.gpus_per_worker asks for {gpus:g} GPUs, the cluster has "
            f"{have.get('GPU', 0):g}: lower one of them (gpus_per_worker = 0 trains on CPU)"
        )
    if cpus + 1 > have.get("CPU", 0):
        raise UserError(
            f"cluster.num_workers x cluster.cpus_per_worker asks for {cpus:g} CPUs and the stream for at least one "
            f"more, the cluster has {have.get('CPU', 0):g}: lower cluster.cpus_per_worker (fractions are allowed), "
            "or start Ray with more logical CPUs (ray start --num-cpus)"
        )


def prepare_index(folder: RunFolder, name: str, data: DataConfig) -> Index:
    """The index of the sources, built once and kept in the run folder.

    Raises:
        UserError: the sources changed since; a resumed run could not keep its place in them.
    """
    text = folder.read(name)
    if text is not None:
        index = Index.from_json(text)
        index.check_unchanged(data)
        return index
    index = build_index(data)
    folder.write(name, index.to_json())
    return index


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The config with local paths made absolute, for workers have another working directory."""

    def source(one: SourceConfig) -> SourceConfig:
        folder = _absolute(one.image_folder) if one.image_folder else ""
        return one.model_copy(update={"path": _absolute(one.path), "image_folder": folder, "name": one.label})

    model = config.model
    parts = {name: getattr(model, name) for name in ("checkpoint", "vision_tower", "language_model")}
    local = {name: _absolute(path) for name, path in parts.items() if path and Path(path).is_dir()}
    return config.model_copy(
        update={
            "runs_dir": _absolute(config.runs_dir),
            "model": model.model_copy(update=local),
            "data": config.data.model_copy(update={"sources": tuple(map(source, config.data.sources))}),
            "validation": config.validation.model_copy(
                update={"sources": tuple(map(source, config.validation.sources))}
            ),
        }
    )


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
