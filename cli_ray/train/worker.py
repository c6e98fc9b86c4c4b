"""One rank of a training run: the function that Ray Train calls in each worker process (see `ray_train`)."""

from contextlib import closing
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from cli_ray.config import DataConfig, RunConfig
from cli_ray.data.cost import SampleCost
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index
from cli_ray.data.stream import Stream
from cli_ray.errors import RunFailedError, StorageError, UserError
from cli_ray.model.build import build_model, load_processor, quiet_loading, resolve_injection
from cli_ray.model.configuration import layer_map
from cli_ray.model.cost import describe, step_costs
from cli_ray.text import say
from cli_ray.train.callbacks import callbacks_of
from cli_ray.train.checkpoint.files import Checkpoint, total_steps
from cli_ray.train.checkpoint.restore import choose, load
from cli_ray.train.engine import Engine, partition_while_loading
from cli_ray.train.environment import record_workers
from cli_ray.train.health.faults import record, verdict
from cli_ray.train.health.heartbeat import Heartbeat, end_process, find_pulse, send_to
from cli_ray.train.loop import TrainLoop
from cli_ray.train.rehearsal import longest_batch
from cli_ray.train.run_folder import RunFolder


def train_worker(arguments: dict[str, Any]) -> dict[str, Any]:
    """Trains; every rank returns the same summary, rank 0's reaches the driver.

    What every rank meets alike, and a restart would only repeat, is returned as `error`, so that Ray does not try
    again: a UserError before the first step, a RunFailedError, and what the launch before this restart wrote down.
    Other errors are one rank's; it writes them down, and Ray restarts all.
    """
    config, launch = RunConfig.model_validate(arguments["config"]), arguments["launch"]
    folder = RunFolder(config.folder)
    quiet_loading()
    if (reason := verdict(folder, launch)) is not None:
        return {"error": reason}
    with closing(start_heartbeat(folder)) as heartbeat:
        try:
            loop = build_loop(config, heartbeat)
        except UserError as error:
            return {"error": str(error)}
        except Exception as error:
            record(folder, launch, None, ray.train.get_context().get_world_rank(), [], error)
            raise
        return run(loop, launch)


def run(loop: TrainLoop, launch: str) -> dict[str, Any]:
    """Trains, and writes down what went wrong on this rank alone."""
    try:
        progress = loop.fit()
    except RunFailedError as error:
        return {"error": str(error), "is_storage": isinstance(error, StorageError)}
    except Exception as error:
        record(loop.folder, launch, loop.progress.step, loop.rank, loop.share.ids, error)
        raise
    return {
        **progress.model_dump(),
        "epoch": loop.stream.epoch,
        "loss": loop.loss,
        "validation_loss": loop.validation_loss,
        "run": loop.folder.uri,
        "pause": loop.pause,
    }


def start_heartbeat(folder: RunFolder) -> Heartbeat:
    """The heartbeat of this rank, which sends to the pulse of the run."""
    rank, node = ray.train.get_context().get_world_rank(), ray.get_runtime_context().get_node_id()
    heartbeat = Heartbeat(rank, node, send_to(find_pulse(folder)), end_process)
    heartbeat.start()
    return heartbeat


def build_loop(config: RunConfig, heartbeat: Heartbeat) -> TrainLoop:
    """Model, stream, engine and callbacks of this rank, at the last complete checkpoint if there is one."""
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    folder = RunFolder(config.folder)
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    heartbeat.at("starting", "comparing the checkpoints with their checksums")
    last = choose(folder, device)
    lanes = last.stream["lanes"] if last else config.lanes

    processor = load_processor(config.model)
    encoder = Encoder(processor, config.data)
    if last:
        sample_cost = SampleCost.of_state(last.stream)
    else:
        sample_cost = SampleCost(**step_costs(*resolve_injection(config.model, config.injection), config))

    def open_stream(index: str, data: DataConfig, cost: SampleCost | None) -> Stream:
        return Stream(
            Index.from_json(folder.read(index) or ""),
            data,
            encoder,
            seed=config.seed,
            lanes=lanes,
            rank=rank,
            world_size=world_size,
            micro_batch_size=config.train.micro_batch_size,
            global_batch_size=config.train.global_batch_size,
            cost=cost,
        )

    stream = open_stream("index.json", config.data, sample_cost)
    validation = None
    if config.validation.sources:
        # It is not packed, and micro-batches that are cut from a whole window are padded less.
        validation = open_stream("validation-index.json", config.validation_data, None)
    if last:
        stream.load_state_dict(last.stream)
    stream.begin()

    heartbeat.at("starting", "loading the model")
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    partitioning = partition_while_loading(config, device)
    model = build_model(config.model, config.injection, config.lora, dtype=dtype, seed=config.seed)
    heartbeat.at("starting", "DeepSpeed")
    engine = Engine(model, processor, config, device)
    del partitioning
    loop = TrainLoop(
        config=config,
        engine=engine,
        stream=stream,
        folder=folder,
        callbacks=callbacks_of(config, validation, rank),
        heartbeat=heartbeat,
        total_steps=total_steps(stream.steps_per_epoch, config.train.epochs, config.train.max_steps),
        rank=rank,
        world_size=world_size,
    )
    heartbeat.at("starting", "rehearsing the longest batch")
    engine.rehearse(longest_batch(encoder, config))
    if last:
        heartbeat.at("starting", f"loading {last.name}")
        load(folder, last, engine.deepspeed)
        loop.progress, loop.validation_loss = last.progress, last.validation_loss
    record_workers(folder)
    if rank == 0:
        if last is None:
            say(layer_map(model.config.injection))
            say(describe(model, config))
        say(start_line(loop, last))
        begin = {"checkpoint": last.name if last else None, "workers": world_size, "steps": loop.total_steps}
        folder.event("begin", **begin, injection=model.config.cli)
    return loop


def start_line(loop: TrainLoop, last: Checkpoint | None) -> str:
    """What was decided about resuming."""
    total = f"of {loop.total_steps} steps, {loop.stream.steps_per_epoch} per epoch"
    if last is None:
        return f"starting run {loop.folder.uri}: step 0 {total}"
    return (
        f"resuming run {loop.folder.uri} at step {last.progress.step} {total}, epoch {loop.stream.epoch}, "
        f"sample {last.progress.samples}, from {last.name}, which {last.world_size} workers wrote"
    )
