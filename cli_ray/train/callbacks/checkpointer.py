"""Writes checkpoints every n steps and at the end, and removes those no longer kept."""

from typing import TYPE_CHECKING

import torch.distributed as dist

from cli_ray.data.collate import MicroBatch
from cli_ray.train import checkpoint as checkpoints
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.evaluations import awaited
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class Checkpointer(Callback):
    """Runs on every rank; stands after validation in the list, so that the loss is known."""

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        settings, step = loop.config.checkpoint, loop.progress.step
        if step % settings.every and step != loop.total_steps and not loop.stopped:
            return
        loop.heartbeat.at("checkpoint")
        checkpoint = checkpoints.Checkpoint(
            progress=loop.progress,
            world_size=loop.world_size,
            lanes=loop.stream.lanes,
            zero_stage=loop.config.train.zero_stage,
            validation_loss=loop.validation_loss,
        )
        checkpoints.save(loop.folder, checkpoint, loop.engine.deepspeed)
        if loop.rank == 0:
            complete = checkpoints.complete_checkpoints(loop.folder)
            for old in checkpoints.to_delete(complete, settings.keep_last, settings.keep_best):
                if not awaited(old.progress.step, loop.config, loop.folder):
                    loop.folder.delete(old.name)
            loop.folder.event("checkpoint", step=step, path=checkpoint.name)
        dist.barrier()
