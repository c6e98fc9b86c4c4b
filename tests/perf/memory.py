"""Memory that a rank takes against what `cli-ray plan` says: a real optimiser step of each case, in its own process.

    python -m tests.perf.memory [--cases llava-bf16 ...] [--ranks 2]

Random weights of real widths with fewer layers. *lasting* is the sum of all tensors that are alive between two steps,
*saved* what the forward pass left for the backward pass, *peak* how much the resident memory of the process grew at
most, *flops* what `torch.utils.flop_counter` counts of a pass without activation checkpointing. On CPU ranks, each
with the same samples.
"""

import argparse
import gc
import os
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cli_ray.config import RunConfig
from cli_ray.costs.activations import Batch, activations
from cli_ray.costs.flops import Work
from cli_ray.costs.memory import BUCKET, state
from cli_ray.costs.parameters import parameters
from cli_ray.data.sample import Encoded
from cli_ray.data.share import Cut, Share
from cli_ray.model import attach
from cli_ray.model.build import freeze_unused, with_parameters_in
from cli_ray.model.families import family_named
from cli_ray.model.lora import inject_lora
from cli_ray.text import NOTHING, grid
from cli_ray.tiles import UNLIMITED, Tiles
from cli_ray.train.engine import Engine
from tests.train.ranks import on_ranks

ALL = ("vision_tower", "projector", "amp", "agf", "llm")
CLIP = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}
SIGLIP = CLIP | {"hidden_size": 1152, "intermediate_size": 4304, "image_size": 384}
QWEN = {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
LLAMA = {"hidden_size": 1024, "intermediate_size": 2752, "num_attention_heads": 16, "num_key_value_heads": 16}
CASES: dict[str, dict[str, Any]] = {
    "llava-bf16": {"parts": ALL},
    "llava-fp32": {"parts": ALL, "precision": "fp32", "stage": 1},
    "llava-checkpointing": {"parts": ALL, "checkpointing": True},
    "llava-unpacked": {"parts": ("projector", "amp", "agf", "llm"), "packing": False},
    "llava-lora": {"parts": ("projector", "amp", "agf", "lora"), "rank": 64},
    "llava-stage3": {"parts": ALL, "stage": 3, "checkpointing": True},
    "llava-stage1": {"parts": ALL, "stage": 1},
    "onevision-bf16": {"parts": ALL, "family": "llava_onevision"},
    "onevision-checkpointing": {"parts": ALL, "family": "llava_onevision", "checkpointing": True},
    "onevision-added": {"parts": ("amp", "agf"), "family": "llava_onevision"},
    "onevision-plain": {"parts": ALL, "family": "llava_onevision", "kind": "none", "packing": False},
}


ROWS = 2
"""Samples of a forward pass; a step has two, so that gradients of the first are there during the second."""


def run_of(
    parts: tuple[str, ...],
    family: str = "llava",
    precision: str = "bf16",
    stage: int = 2,
    checkpointing: bool = False,
    packing: bool = True,
    rank: int = 0,
    kind: str = "cli",
) -> RunConfig:
    """The run of a case."""
    return RunConfig.model_validate(
        {
            "name": "memory",
            "model": {"family": family, "checkpoint": "tiny"},
            "injection": {"kind": kind, "vision_layers": {"at_most": 4}, "decoder_layers": {"at_most": 4}},
            "lora": {"rank": rank},
            "data": {"sources": [{"path": "none"}], "max_length": 1024 if family == "llava" else 3072},
            "optim": {part: {"lr": 1e-5 if part in parts else 0.0} for part in (*ALL, "lora")},
            "train": {
                "global_batch_size": 4 * ROWS,
                "micro_batch_size": ROWS,
                "precision": precision,
                "zero_stage": stage,
                "activation_checkpointing": checkpointing,
                "packing": packing,
            },
            "cluster": {"gpus_per_worker": 0},
        }
    )


def model_of(run: RunConfig, vision_layers: int = 4, layers: int = 4) -> Any:
    """A model of real widths and few layers, its parts frozen as the run says."""
    family = family_named(run.model.family)
    tower, text = (CLIP, LLAMA) if run.model.family == "llava" else (SIGLIP, QWEN)
    vision = family.tiny_vision(text["hidden_size"], num_hidden_layers=vision_layers, **tower)
    words = family.text_config_class(vocab_size=16_000, num_hidden_layers=layers, **text)
    fields = family.tiny_fields({"<video>": 6}.__getitem__, vision)
    config = family.plain_class.config_class(vision_config=vision, text_config=words, image_token_index=5, **fields)
    model = attach(family.plain_class(config), run.injection)
    freeze_unused(model)
    if run.lora.rank:
        inject_lora(model, run.lora)
    return with_parameters_in(model, torch.bfloat16 if run.train.precision == "bf16" else torch.float32)


def row_of(config: Any, text: int = 96) -> Encoded:
    """A sample with an image, of two tiles and the thumbnail for OneVision."""
    side = config.vision_config.image_size
    tiles, tokens, size = 1, (side // config.vision_config.patch_size) ** 2, (side, side)
    if hasattr(config, "image_grid_pinpoints"):
        patches = side // config.vision_config.patch_size
        laid = Tiles.of(config.image_grid_pinpoints, side, patches, config.vision_aspect_ratio).lay(
            (side, 2 * side), UNLIMITED
        )
        tiles, tokens, size = 3, laid.tokens, laid.size
    ids = np.array([5] * tokens + [7] * text, np.int32)
    labels = np.where(np.arange(len(ids)) < tokens + text // 2, -100, ids).astype(np.int32)
    images = [np.zeros((tiles, 3, side, side), np.uint8)]
    return Encoded(
        input_ids=ids,
        labels=labels,
        turns=(labels != -100).cumsum().clip(0, 1).astype(np.int32),
        images=images,
        sizes=np.array([size], np.int32),
        id="a",
        source="s",
    )


class Saved:
    """A tensor that autograd holds; gone when its graph is."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def bytes_of(tensors: Any, known: frozenset[int] = frozenset()) -> int:
    """Of the storages of tensors, each counted once; `known` are left out."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(size for place, size in storages.items() if place not in known)


def alive() -> list[Tensor]:
    """All tensors of this process."""
    return [thing for thing in gc.get_objects() if type(thing) in (Tensor, torch.nn.Parameter)]


def resident(field: str = "VmRSS") -> int:
    """Memory of this process; `VmHWM` is the most that it had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def saved_by(engine: Engine, share: Share) -> int:
    """What a forward pass leaves for its backward pass."""
    held: weakref.WeakSet[Saved] = weakref.WeakSet()

    def keep(tensor: Tensor) -> Saved:
        saved = Saved(tensor)
        held.add(saved)
        return saved

    batch = next(share.packs(engine.config.pack_tokens, 2, 0) if engine.config.packs else share.micro_batches())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        result = engine.forward(batch)
    weights = frozenset(p.untyped_storage().data_ptr() for p in engine.deepspeed.module.parameters())
    size = bytes_of([saved.tensor for saved in held], weights)
    engine.deepspeed.set_gradient_accumulation_boundary(False)
    engine.deepspeed.backward(result.nll_S.sum() * 0.0, scale_wrt_gas=False)
    return size


def flops_of(engine: Engine, share: Share) -> int:
    """FLOPs of a forward and a backward pass of padded micro-batches, as torch counts them while they run."""
    # The counter does not know the CPU's fused attention, and eager attention would look at all of a pack.
    engine.deepspeed.module.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        result = engine.forward(next(share.micro_batches()))
        engine.deepspeed.set_gradient_accumulation_boundary(False)
        engine.deepspeed.backward(result.nll_S.sum() * 0.0, scale_wrt_gas=False)
    return int(counter.get_total_flops())


def measured(name: str) -> dict[str, Any]:
    """Plan and measurement of a case, in bytes; run in a process of its own."""
    torch.set_num_threads(2)
    run = run_of(**CASES[name])
    begun = time.monotonic()
    processor = SimpleNamespace(image_processor=SimpleNamespace(image_mean=[0.5] * 3, image_std=[0.5] * 3))
    Engine(model_of(run_of(("agf",)), 2, 2), processor, run, torch.device("cpu"))  # libraries are loaded by it
    gc.collect()
    before, tensors = resident(), bytes_of(alive())
    model = model_of(run)
    config, rows = model.config, [row_of(model.config)] * ROWS
    engine = Engine(model, processor, run, torch.device("cpu"))
    share = Share([Cut(rows, (0, 0)), Cut(rows, (0, 1))], 0, run.model.family != "llava")
    engine.train_step(share, 0, 1.0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew
    engine.train_step(share, 1, 1.0)
    peak = resident("VmHWM") - before
    gc.collect()
    lasting = bytes_of(alive()) - tensors
    saved = saved_by(engine, share)
    counted = 0 if run.train.activation_checkpointing else flops_of(engine, share)  # it would count twice
    batch = Batch(
        tokens=sum(len(row.input_ids) for row in rows),
        tiles=sum(len(image) for row in rows for image in row.images),
        visual_tokens=sum(int((row.input_ids == 5).sum()) for row in rows),
        supervised=sum(row.num_supervised for row in rows),
    )
    length = len(rows[0].input_ids)
    work = Work(
        1, batch.tiles, batch.visual_tokens, batch.tokens, ROWS * length**2, batch.supervised, ROWS, batch.tokens
    )
    held = state(
        parameters(config, config.injection, run.optim, run.lora), run, run.train.zero_stage, dist.get_world_size()
    )
    kept = activations(config, config.injection, run, batch)
    stage = run.train.zero_stage
    # Most stages free the sums of gradients when they update; stage 3 keeps them, and a whole bucket.
    frees = stage == 2 or (stage == 1 and run.train.precision == "fp32")
    lasting_planned = held.lasting - (held.gradients if frees else -BUCKET * 2 if stage == 3 else 0)
    logits = batch.supervised * config.text_config.vocab_size * 4
    return {
        "case": name,
        "lasting": [lasting_planned, lasting],
        "saved": [kept.saved + logits, saved],
        "peak": [held.peak(kept), peak],
        "flops": [work.times(engine.flops), counted],
        "seconds": time.monotonic() - begun,
        "parts": {"state": str(held), "activations": str(kept)},
    }


def report(results: list[dict[str, Any]]) -> str:
    """A line a case: MB, and MFLOP, planned and measured."""
    kinds = ("lasting", "saved", "peak", "flops")
    head = ["case", *(f"{kind}: {what}" for kind in kinds for what in ("plan", "measured", "ratio"))]
    body = []
    for result in results:
        cells = [cell for kind in kinds for cell in _compared(*result[kind])]
        body.append([result["case"], *cells])
    return grid(head, body, left=1)


def _compared(planned: int, real: int) -> list[str]:
    if not real:
        return [NOTHING] * 3
    return [f"{planned / 1e6:,.0f}", f"{real / 1e6:,.0f}", f"{planned / real:.3f}"]


def main() -> None:
    """Measures the cases and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=1, help="that share the states of the model")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    given = parser.parse_args()
    # Freed memory goes back to the system at once, so that what is resident is what is alive.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    results = []
    for case in given.cases:
        result = on_ranks(given.ranks, measured, case)[0]
        results.append(result)
        print(result, file=sys.stderr, flush=True)
    print(report(results))


if __name__ == "__main__":
    main()
