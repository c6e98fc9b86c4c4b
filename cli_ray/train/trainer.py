"""The driver of a run: prepares the run folder, checks config, data and cluster, and starts the workers.

`train` is called by `cli-ray train`, the pipeline, each trial of a sweep, and the demo.
"""

from signal import Signals
from typing import Any

import ray

from cli_ray import autoscaler
from cli_ray.capacity import await_room, node_resources
from cli_ray.cluster import connect, refuse_to_lose
from cli_ray.config import ClusterConfig, DataConfig, InjectionConfig, RunConfig
from cli_ray.config.run import with_absolute_paths
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index, build_index
from cli_ray.data.quarantine import refuse_lost
from cli_ray.errors import RunFailedError, StoppedError, StorageError, UserError
from cli_ray.model.attention import check_attention
from cli_ray.model.build import load_processor, resolve_injection
from cli_ray.need import lacking, need_of
from cli_ray.train.base import pin_base
from cli_ray.train.callbacks.trackers import check_sinks
from cli_ray.train.environment import record_start
from cli_ray.train.evaluator import Evaluator
from cli_ray.train.health.heartbeat import start_pulse
from cli_ray.train.health.restarts import Launch
from cli_ray.train.health.run_lock import RunLock, machine_file
from cli_ray.train.health.supervisor import Check, Supervisor
from cli_ray.train.rehearsal import longest_batch
from cli_ray.train.run_folder import RunFolder, as_begun, load_config


def train(config: RunConfig, check: Check = lambda: None) -> dict[str, Any]:
    """Trains a run, or goes on with it when its folder exists; one that has ended starts no worker.

    Args:
        check: called every second while workers are there; what it raises ends them, and the run where it is. A
            signal that it returns stops the run as one that was sent to this process.

    Returns:
        The progress at the end, with `validation_loss` and the run folder's URI.

    Raises:
        UserError: config, data and cluster do not fit each other; says which field to change. Or another driver
            trains in the run folder.
        RunFailedError: the run stopped itself; says why. A ClusterError or StorageError: nodes or storage failed it.
        StoppedError: a signal stopped it after a checkpoint.
    """
    refuse_to_lose("--runs-dir", config.runs_dir)
    config = with_absolute_paths(config)
    folder = RunFolder(config.folder)
    if (end := folder.ending()) is not None:
        folder.claim(config)
        return end
    evaluator = check_start(config, folder)
    connect(config.cluster.max_workers * config.cluster.cpus_per_worker)
    check_resources(config.cluster, check)
    autoscaler.start_helpers()
    with run_lock(folder) as lock:
        config = prepare(config, folder)
        lock.check()
        with evaluator:
            launch = Launch(config, folder)

            def check_all() -> Signals | None:
                lock.check()
                return check()

            supervisor = Supervisor(config.cluster, folder, lock.actor, check_all)
            summary = supervisor.run(launch.fit, launch.abort)
        folder.event("end", **summary)
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


def check_start(config: RunConfig, folder: RunFolder) -> Evaluator:
    """Faults of a run that show before a cluster is joined.

    Returns:
        What evaluates the checkpoints of the run.

    Raises:
        UserError: another config or other layers than those of the run in the folder, a sink that is not installed,
            and what `check_model` and `Evaluator` raise.
    """
    folder.check_config(config)
    check_sinks(config.log.sinks)
    injection, _ = check_model(config)
    folder.check_layers(injection)
    return Evaluator(config, folder)


def check_model(config: RunConfig) -> tuple[InjectionConfig, Encoder]:
    """Faults of model, processor and lengths that show before a worker, or a GPU, is taken.

    Returns:
        The injection with explicit layers, and the encoder of the run.

    Raises:
        UserError: layers or attention kernels that do not exist, more tokens than positions, a chat template that
            cannot be used, no room for an image, a processor that does not fit its model, kernels that cannot pack.
    """
    check_attention(config.model.attention, "model.attention")
    if config.evaluation.every:
        check_attention(config.evaluation.replica.attention, "evaluation.replica.attention")
    described, injection = resolve_injection(config.model, config.injection)
    positions = described.text_config.max_position_embeddings
    encoder = Encoder(load_processor(config.model), config.data)
    if encoder.max_length > positions:
        raise UserError(f"data.max_length = {encoder.max_length}, the language model has {positions} positions")
    # Where it is not given it is the family's.
    config = config.model_copy(update={"data": config.data.model_copy(update={"max_length": encoder.max_length})})
    if config.packs and config.pack_tokens < encoder.max_length:
        raise UserError(
            f"train.pack_tokens = {config.pack_tokens} is below data.max_length = {encoder.max_length}, that of the "
            "family where it is not given: a sample is never cut, so raise the one or lower the other"
        )
    window = getattr(described.text_config, "sliding_window", None)
    if config.packs and config.model.attention == "sdpa" and window is not None and window < encoder.max_length:
        raise UserError(
            f"the language model has layers that see {window} tokens, which model.attention = 'sdpa' cannot do in "
            f"packs of samples of up to data.max_length = {encoder.max_length}: take 'flash_attention_2', or set "
            "train.packing = false"
        )
    longest_batch(encoder, config)
    return injection, encoder


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
        print(line, flush=True)
    refuse_lost(index, data)
    folder.write(name, index.to_json())
    return index
