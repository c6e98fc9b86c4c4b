"""A few optimiser steps on fixed data, for comparing ways to run them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch
import torch.distributed as dist
from PIL import Image

from cli_ray.config import RunConfig
from cli_ray.data.collate import MicroBatch
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import BadSample, Message, Row, Sample
from cli_ray.data.share import Cut, Share
from cli_ray.model.build import build_model, load_processor
from cli_ray.train.checkpoint.files import Checkpoint, Progress
from cli_ray.train.checkpoint.write import commit, take_snapshot, write_shards
from cli_ray.train.engine import Engine, ForwardResult, partition_while_loading
from cli_ray.train.rehearsal import longest_batch
from cli_ray.train.run_folder import RunFolder
from tests.model.batches import open_gates

STEPS = 4
GLOBAL_BATCH = 8
HOLE = BadSample("hole", "demo", "there", "too long", "very")


@dataclass(frozen=True)
class Case:
    """One way to run the steps."""

    zero_stage: int = 2
    micro_batch: int = 4
    family: str = "llava"
    kind: str = "cli"
    checkpoint: str = "tiny"
    checkpointing: bool = False
    lora: bool = False
    dropout: float = 0.0
    frozen_llm: bool = False
    frozen_vision: bool = False
    own_rates: bool = False
    """Parts differ in learning rate and weight decay."""
    precision: str = "fp32"
    rehearse: bool = False
    packing: bool = False
    max_length: int = 512
    opened: bool = False
    """Gates are open from the start, so that every parameter has a gradient."""
    bad: tuple[int, ...] = ()
    """Samples of each step that are quarantined."""


def config_of(case: Case) -> RunConfig:
    """The run config of a case."""
    rate = {"lr": 1e-3}
    parts: dict[str, Any] = {"amp": rate, "agf": rate, "projector": rate}
    if case.lora:
        parts["lora"] = rate
    elif not case.frozen_llm:
        parts |= {"llm": rate} | ({} if case.frozen_vision else {"vision_tower": rate})
    if case.own_rates:
        parts = {name: {"lr": 1e-3 / (i + 1), "weight_decay": 0.1 * i} for i, name in enumerate(parts)}
    return RunConfig.model_validate(
        {
            "name": "scenario",
            "model": {"family": case.family, "checkpoint": case.checkpoint},
            "injection": {
                "kind": case.kind,
                "vision_layers": {"count": 3},
                "decoder_layers": {"count": 3},
                "amp": {"rank": 4},
                "agf": {"num_heads": 2, "hidden_size": 8},
            },
            "lora": {"rank": 4, "dropout": case.dropout} if case.lora else {},
            "data": {"sources": [{"path": "none", "name": "demo"}], "max_length": case.max_length},
            "optim": parts,
            "train": {
                "global_batch_size": GLOBAL_BATCH,
                "micro_batch_size": case.micro_batch,
                "precision": case.precision,
                "zero_stage": case.zero_stage,
                "activation_checkpointing": case.checkpointing,
                "packing": case.packing,
                "pack_tokens": case.max_length,
            },
            "cluster": {"gpus_per_worker": 0},
        }
    )


def step_losses(cases: list[Case]) -> list[list[float]]:
    """Loss of each step over all ranks, for each case in turn; every rank returns the same."""
    return [_run(case) for case in cases]


def train_and_save(case: Case, run: str) -> float:
    """Trains all steps, writes a checkpoint to the run folder and returns the loss of the first batch after it."""
    trained = ScenarioRun(case)
    for step in range(STEPS):
        trained.step(step)
    folder = RunFolder(run)
    if dist.get_rank() == 0:
        folder.claim(trained.config)
    save(folder, STEPS, trained)
    trained.engine.deepspeed.eval()
    with torch.no_grad():
        forwards = [trained.engine.forward(batch) for batch in trained.batches(0)]
    return mean_loss(trained.engine, forwards)


def save(folder: RunFolder, step: int, trained: "ScenarioRun") -> None:
    """Writes a checkpoint of a step at once; called by every rank."""
    stage, world = trained.config.train.zero_stage, dist.get_world_size()
    checkpoint = Checkpoint(progress=Progress(step=step), stream={}, world_size=world, zero_stage=stage)
    write_shards(folder, checkpoint.name, dist.get_rank(), take_snapshot(trained.engine.deepspeed))
    dist.barrier()
    if dist.get_rank() == 0:
        commit(folder, checkpoint)
    dist.barrier()


class ScenarioRun:
    """This rank's engine and samples."""

    def __init__(self, case: Case) -> None:
        self.case, self.config = case, config_of(case)
        device = torch.device("cpu")
        partitioning = partition_while_loading(self.config, device)
        processor = load_processor(self.config.model)
        dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
        model = build_model(
            self.config.model, self.config.injection, self.config.lora, dtype=dtype, seed=self.config.seed
        )
        if case.opened:
            open_gates(model)
        self.encoder = Encoder(processor, self.config.data)
        self.slots = math.ceil(GLOBAL_BATCH / case.micro_batch / dist.get_world_size())
        self.engine = Engine(model, processor, self.config, device)
        del partitioning

    def step(self, step: int) -> float:
        """Trains one step; its loss."""
        return mean_loss(self.engine, self.engine.train_step(self.share(step), step, factor=1.0).forwards)

    def share(self, step: int) -> Share:
        """This rank's share of a step; micro-batches without samples where there are more ranks' slots than samples."""
        rows: list[Row] = [self.encoder(sample) for sample in samples(step)]
        for number in self.case.bad:
            rows[number] = HOLE
        size, first = self.case.micro_batch, dist.get_rank() * self.slots
        slots = range(first, first + self.slots)
        cuts = [Cut(rows[slot * size : (slot + 1) * size], (slot, 0)) for slot in slots]
        return Share(cuts, self.encoder.pad_token_id, self.encoder.tiled)

    def batches(self, step: int) -> list[MicroBatch]:
        """This rank's micro-batches of a step."""
        return list(self.share(step).micro_batches())


def _run(case: Case) -> list[float]:
    run = ScenarioRun(case)
    if case.rehearse:
        run.engine.rehearse(longest_batch(run.encoder, run.config))
    return [run.step(step) for step in range(STEPS)]


def mean_loss(engine: Engine, forwards: Sequence[ForwardResult]) -> float:
    """Mean loss per supervised token over all ranks."""
    sums = torch.tensor([[f.nll_S.sum().item(), float(f.nll_S.numel())] for f in forwards]).sum(0)
    nll, tokens = engine.all_reduce(sums)
    return float(nll / tokens)


def samples(step: int) -> list[Sample]:
    """One global batch. In steps 1 and 3 the second half, which is rank 1's share of two, has no images."""
    images = GLOBAL_BATCH // 2 if step % 2 else GLOBAL_BATCH
    batch = [
        Sample(
            f"image-{i}",
            [_png(40 * i, 10 * step)],
            [Message("user", "<image>what?"), Message("assistant", f"{i}")],
            "demo",
            "",
        )
        for i in range(images)
    ]
    turns = [[Message("user", f"{i}?"), Message("assistant", "x" * (i + 1))] for i in range(GLOBAL_BATCH - images)]
    return batch + [Sample(f"text-{i}", [], messages, "demo", "") for i, messages in enumerate(turns)]


def _png(red: int, blue: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 32), (red % 256, 128, blue % 256)).save(buffer, "PNG")
    return buffer.getvalue()
