"""One rank of a training run, started by Ray Train."""

from typing import Any

import ray.train
import ray.train.torch
import torch

from cli_ray.config import DataConfig, RunConfig
from cli_ray.data.conversation import Encoder
from cli_ray.data.index import Index
from cli_ray.data.stream import Stream
from cli_ray.errors import UserError
from cli_ray.model.build import build_model, load_processor
from cli_ray.model.config import layer_map
from cli_ray.plan.flops import describe
from cli_ray.train import checkpoint as checkpoints
from cli_ray.train.callbacks import callbacks_of
from cli_ray.train.callbacks.console import say
from cli_ray.train.engine import Engine, partition_while_loading
from cli_ray.train.folder import RunFolder
from cli_ray.train.loop import TrainLoop
from cli_ray.train.progress import total_steps
from cli_ray.train.quiet import quiet
from cli_ray.train.rehearsal import longest_batch


def train_worker(arguments: dict[str, Any]) -> dict[str, Any]:
    """Trains; every rank returns the same summary, rank 0's reaches the driver.

    A UserError is met by every rank alike and a restart would repeat it. It is returned as `error`, so that
    Ray does not try again.
    """
    config = RunConfig.model_validate(arguments["config"])
    quiet()
    try:
        loop = build_loop(config)
        progress = loop.fit()
    except UserError as error:
        return {"error": str(error)}
    return {**progress.model_dump(), "validation_loss": loop.validation_loss, "run": loop.folder.uri}


def build_loop(config: RunConfig) -> TrainLoop:
    """Model, stream, engine and callbacks of this rank, at the last complete checkpoint if there is one."""
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    folder = RunFolder(config.folder)
    complete = checkpoints.complete_checkpoints(folder)
    last = complete[-1] if complete else None
    lanes = last.lanes if last else config.lanes
    torch.manual_seed(config.seed + rank)  # dropout differs between ranks

    processor = load_processor(config.model)
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    device = ray.train.torch.get_device()
    partitioning = partition_while_loading(config, device)
    model = build_model(config.model, config.injection, config.lora, dtype=dtype, seed=config.seed)
    encoder = Encoder(processor, config.data)

    def open_stream(index: str, data: DataConfig) -> Stream:
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
        )

    stream = open_stream("index.json", config.data)
    validation = open_stream("validation-index.json", config.validation_data) if config.validation.sources else None
    engine = Engine(model, processor, config, stream.micro_batches_per_step, device)
    del partitioning
    loop = TrainLoop(
        config=config,
        engine=engine,
        stream=stream,
        folder=folder,
        callbacks=callbacks_of(config, validation, rank),
        total_steps=total_steps(stream.steps_per_epoch, config.train.epochs, config.train.max_steps),
        rank=rank,
        world_size=world_size,
    )
    engine.rehearse(longest_batch(encoder, config))
    if last:
        checkpoints.load(folder, last, engine.deepspeed)
        loop.progress, loop.validation_loss = last.progress, last.validation_loss
    if rank == 0:
        say(layer_map(model.config.injection))
        say(describe(model, config))
        say(start_line(loop, last))
        begin = {"checkpoint": last.name if last else None, "workers": world_size}
        folder.event("begin", **begin, injection=model.config.cli)
    return loop


def start_line(loop: TrainLoop, last: checkpoints.Checkpoint | None) -> str:
    """What was decided about resuming."""
    total = f"of {loop.total_steps} steps, {loop.stream.steps_per_epoch} per epoch"
    if last is None:
        return f"starting run {loop.folder.uri}: step 0 {total}"
    progress = last.progress
    return (
        f"resuming run {loop.folder.uri} at step {progress.step} {total}, epoch {progress.epoch}, "
        f"sample {progress.samples}, from {last.name}, which {last.world_size} workers wrote"
    )
