"""The driver of a run: prepares the run folder, checks config, data and cluster, and starts the workers.

`train` is called by `cli-ray train`, the pipeline, each trial of a sweep, and the demo.
"""

import time
from contextlib import nullcontext
from signal import Signals
from typing import Any

import ray

from cli_ray import autoscaler
from cli_ray.capacity import await_room, node_resources
from cli_ray.cluster import connect, refuse_to_lose
from cli_ray.config import ClusterConfig, DataConfig, RunConfig
from cli_ray.config.run import with_absolute_paths
from cli_ray.data.index import Index, build_index
from cli_ray.data.quarantine import refuse_lost
from cli_ray.errors import RunFailedError, StoppedError, StorageError, UserError
from cli_ray.need import lacking, need_of
from cli_ray.text import say
from cli_ray.train.base import pin_base
from cli_ray.train.checks import check_start
from cli_ray.train.environment import record_start
from cli_ray.train.health.heartbeat import start_pulse
from cli_ray.train.health.restarts import Launch
from cli_ray.train.health.run_lock import RunLock, machine_file
from cli_ray.train.health.supervisor import Check, Supervisor
from cli_ray.train.ray_train import start_controller
from cli_ray.train.run_folder import RunFolder, as_begun, load_config


def train(config: RunConfig, check: Check = lambda: None) -> dict[str, Any]:
    """Trains a run, or goes on with it when its folder exists; one that has ended starts no worker.

    Args:
        check: called every second while workers are there; what it raises ends them, and the run where it is. A
            signal that it returns stops the run as one that was sent to this process.

    Returns:
        The progress at the end, with `loss` (None without a step), `validation_loss`, the run folder's URI and the
        `seconds` of the last start.

    Raises:
        UserError: config, data and cluster do not fit each other; says which field to change. Or another driver
            trains in the run folder.
        RunFailedError: the run stopped itself; says why. A ClusterError or StorageError: nodes or storage failed it.
        StoppedError: a signal stopped it after a checkpoint.
    """
    refuse_to_lose("--runs-dir", config.runs_dir)
    config = with_absolute_paths(config)
    folder = RunFolder(config.folder)
    if (end := folder.outcome(config)) is not None:
        folder.claim(config)
        return end
    folder.check_config(config)
    connect(config.cluster.max_workers * config.cluster.cpus_per_worker)
    controller = start_controller(config.cluster.backstop_s)  # which loads Ray Train while the checks load torch
    evaluator = check_start(config, folder)
    check_resources(config.cluster, check)
    autoscaler.start_helpers()
    with run_lock(folder) as lock:
        try:
            config = prepare(config, folder)
        except UserError as error:
            folder.event("end", error=str(error))
            raise
        lock.check()
        with evaluator or nullcontext():
            launch = Launch(config, folder, controller)

            def check_all() -> Signals | None:
                lock.check()
                return check()

            supervisor = Supervisor(config.cluster, folder, lock.actor, check_all)
            begun = time.monotonic()
            say(f"run {folder.uri}: starting its workers")
            try:
                summary = supervisor.run(launch.fit, launch.abort)
            except RunFailedError as error:
                folder.event("end", error=str(error))
                raise
        summary["seconds"] = round(time.monotonic() - begun, 3)
        folder.event("end", **summary)
        if evaluator is not None and evaluator.results:
            from cli_ray.train.callbacks.trackers import deliver_results  # which loads torch

            deliver_results(config, folder, evaluator.results, "failed" if "error" in summary else "finished")
    if "error" in summary:
        raise (StorageError if summary.get("is_storage") else RunFailedError)(summary["error"])
    return summary


def run_lock(folder: RunFolder) -> RunLock:
    """The lock of a run folder, whose actor is the pulse of the run."""
    session = ray.get_runtime_context().get_session_name()
    return RunLock(folder, session, lambda: start_pulse(folder), ray.kill, machine_file(folder))


def prepare(config: RunConfig, folder: RunFolder) -> RunConfig:
    """Config, base, indices and environment in the run folder; the config with the models of the run's first start, and
    what it leaves open as it was then.

    Raises:
        UserError: the folder holds another run, or the data cannot be read or changed, or the models changed.
    """
    resumed = folder.claim(config)
    config = as_begun(config, load_config(folder))
    config = config.model_copy(update={"model": pin_base(folder, config.model)})
    prepare_index(folder, "index.json", config.data)
    if config.validation.sources:
        prepare_index(folder, "validation-index.json", config.validation_data)
    record_start(folder)
    folder.event("resume" if resumed else "start")
    return config


def check_resources(cluster: ClusterConfig, check: Check = lambda: None) -> None:
    """Compares what the run asks for with what the cluster has, and where it grows waits until it has that.

    Args:
        cluster: of the run.
        check: see `train`.

    Raises:
        UserError: it asks for more, or leaves no CPU to the stream, which would wait for ever.
        ClusterError: a cluster that grows did not grow in time.
        StoppedError: `check` returned a signal.
    """

    def heed() -> None:
        if (number := check()) is not None:
            raise StoppedError(number, "stopped while it waited for room")

    nodes = node_resources()
    refusal = lacking(cluster, nodes)
    if refusal:
        # A fixed cluster is filled with as many workers as it holds, which must leave room for the stream.
        need = need_of(cluster, () if autoscaler.version() else nodes)
        notice_s, timeout_s = cluster.notice_s, cluster.timeout_s
        await_room(need, refusal, notice_s=notice_s, timeout_s=timeout_s, check=heed)


def prepare_index(folder: RunFolder, name: str, data: DataConfig) -> Index:
    """The index of the sources, built once and kept in the run folder.

    Raises:
        UserError: more of the sources is lost than data.max_bad_share allows. Or they changed since; a resumed run
            could not keep its place in them.
    """
    text = folder.read(name)
    if text is not None:
        index = Index.from_json(text)
        index.check_unchanged(data)
        return index
    index = build_index(data)
    for line in index.left_out():
        say(line)
    refuse_lost(index, data)
    folder.write(name, index.to_json())
    return index
