"""A few optimiser steps on fixed data, for comparing ways to run them."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch
import torch.distributed as dist
from PIL import Image

from cli_ray.config import RunConfig
from cli_ray.data.collate import MicroBatch, collate
from cli_ray.data.conversation import Encoder
from cli_ray.data.sample import Message, Sample
from cli_ray.model.build import build_model, load_processor
from cli_ray.train.engine import Engine, partition_while_loading
from cli_ray.train.rehearsal import longest_batch

STEPS = 4
GLOBAL_BATCH = 8


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
    frozen_llm: bool = False
    rehearse: bool = False


def config_of(case: Case) -> RunConfig:
    """The run config of a case."""
    rate = {"lr": 1e-3}
    parts: dict[str, Any] = {"amp": rate, "agf": rate, "projector": rate}
    if case.lora:
        parts["lora"] = rate
    elif not case.frozen_llm:
        parts |= {"llm": rate, "vision_tower": rate}
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
            "lora": {"rank": 4, "dropout": 0.0} if case.lora else {},
            "data": {"sources": [{"path": "none", "name": "demo"}], "max_length": 512},
            "optim": parts,
            "train": {
                "global_batch_size": GLOBAL_BATCH,
                "micro_batch_size": case.micro_batch,
                "precision": "fp32",
                "zero_stage": case.zero_stage,
                "activation_checkpointing": case.checkpointing,
            },
            "cluster": {"gpus_per_worker": 0},
        }
    )


def step_losses(cases: list[Case]) -> list[list[float]]:
    """Loss of each step over all ranks, for each case in turn; every rank returns the same."""
    return [_run(case) for case in cases]


def _run(case: Case) -> list[float]:
    config = config_of(case)
    rank, world = dist.get_rank(), dist.get_world_size()
    accumulation = GLOBAL_BATCH // (world * case.micro_batch)
    processor = load_processor(config.model)
    device = torch.device("cpu")
    partitioning = partition_while_loading(config, device)
    model = build_model(config.model, config.injection, config.lora, dtype=torch.float32, seed=0)
    encoder = Encoder(processor, config.data)
    engine = Engine(model, processor, config, accumulation, device)
    del partitioning
    if case.rehearse:
        engine.rehearse(longest_batch(encoder, config))
    losses = []
    for step in range(STEPS):
        rows = [encoder(sample) for sample in samples(step)]
        mine = rows[rank * len(rows) // world : (rank + 1) * len(rows) // world]
        batches = [
            collate(mine[i : i + case.micro_batch], encoder.pad_token_id, encoder.tiled)
            for i in range(0, len(mine), case.micro_batch)
        ]
        losses.append(_loss(engine, batches))
    return losses


def _loss(engine: Engine, batches: list[MicroBatch]) -> float:
    result = engine.train_step(batches, factor=1.0)
    sums = torch.tensor([[f.nll_S.sum().item(), float(f.nll_S.numel())] for f in result.forwards]).sum(0)
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
