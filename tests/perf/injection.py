"""A CLI model against plain LLaVA at equal batch: training step, prefill, decode and memory, as ratios.

    python -m tests.perf.injection --shape cpu512
    python -m tests.perf.injection --shape llava15_7b --device cuda --dtype bfloat16 --batch 8 --checkpointing

Random weights, 8 tapped vision layers into 8 decoder layers, the vision tower frozen as in LLaVA's second
stage, everything else trained, gates open. A step is forward and backward; the optimiser would add the
same to both. Runs of the two models are interleaved.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

from cli_ray.config import InjectionConfig
from cli_ray.model import attach

TEXT = 64
PATCHES = 576


@dataclass(frozen=True)
class Shape:
    """Sizes of a LLaVA-1.5."""

    width: int
    inner: int
    layers: int
    heads: int
    vocabulary: int
    vision_width: int
    vision_layers: int
    vision_heads: int


SHAPES = {
    "cpu512": Shape(512, 1376, 9, 8, 1024, 128, 10, 4),
    "llava15_7b": Shape(4096, 11008, 32, 32, 32064, 1024, 24, 16),
}


def build(shape: Shape, device: str, dtype: torch.dtype, image_size: int = 336) -> PreTrainedModel:
    """A plain LLaVA-1.5 of random weights, tower frozen."""
    text = LlamaConfig(
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        vocab_size=shape.vocabulary,
    )
    vision = CLIPVisionConfig(
        hidden_size=shape.vision_width,
        intermediate_size=4 * shape.vision_width,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=image_size,
        patch_size=14,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=3)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = LlavaForConditionalGeneration(config)
    torch.set_default_dtype(before)
    model.model.vision_tower.requires_grad_(False)
    return model


def with_injection(model: PreTrainedModel) -> PreTrainedModel:
    """Attach the method with gates that are not zero."""
    model = attach(model, InjectionConfig())
    with torch.no_grad():
        for parameter in (model.model.agf.visual_gate, model.model.agf.context_gate, model.model.amp.up):
            parameter.normal_(std=0.02)
    return model


def inputs_of(shape: Shape, batch: int, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """One image and 64 tokens of text a sample, the last 32 of them supervised."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, shape.vocabulary, (batch, PATCHES + TEXT), generator=generator)
    ids[:, 8 : 8 + PATCHES] = 3
    labels = ids.clone()
    labels[:, :-32] = -100
    pixels = torch.randn(batch, 3, 336, 336, generator=generator).to(dtype)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels, "labels": labels}
    return {name: tensor.to(device) for name, tensor in given.items()}


def train_step(model: PreTrainedModel, inputs: dict[str, Tensor]) -> None:
    """Forward and backward, logits at supervised positions only."""
    model.train()
    model.zero_grad(set_to_none=False)
    keep = torch.nn.functional.pad(inputs["labels"][:, 1:] != -100, (0, 1))
    if "cli" in model.config.model_type:
        loss = model(**inputs, logits_to_keep=keep, use_cache=False).loss
    else:
        shift = inputs["labels"].roll(-1, 1)[keep]
        loss = model(**inputs, logits_to_keep=keep, shift_labels=shift, use_cache=False).loss
    loss.backward()


def ends(model: PreTrainedModel) -> dict[str, bool]:
    """Arguments for a cache that ends with the reply, as `generate` sets them."""
    return {"keep_context": False} if "cli" in model.config.model_type else {}


@torch.no_grad()
def prefill(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Any:
    """The prompt with its image; returns the cache."""
    model.eval()
    given = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    return model(**given, logits_to_keep=1, use_cache=True, **ends(model)).past_key_values


@torch.no_grad()
def decode(model: PreTrainedModel, inputs: dict[str, Tensor], cache: Any, steps: int = 16) -> None:
    """Single tokens after the prompt that `cache` holds."""
    model.eval()
    token = inputs["input_ids"][:, -1:]
    for _ in range(steps):
        model(input_ids=token, past_key_values=cache, use_cache=True, **ends(model))
    cache.crop(-steps)


def synchronise() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock() -> float:
    """Seconds: wall time with a GPU, else this process' own CPU time, which neighbours on the machine change less."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def peak_GiB(run: Callable[[], None]) -> float:
    """CUDA: peak of allocated memory. CPU: what the forward pass saves for the backward pass."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() / 2**30
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(storages.values()) / 2**30


def compare(name: str, runs: Sequence[Callable[[], object]], repeats: int) -> None:
    """Time plain and CLI in turn and print medians, minima and their ratios."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for index in (0, 1) if repeat % 2 else (1, 0):
            synchronise()
            start = clock()
            runs[index]()
            synchronise()
            if repeat:
                times[index].append(1000 * (clock() - start))
    of = {"median": [median(values) for values in times], "min": [min(values) for values in times]}
    parts = [f"{kind} {a:9.1f} -> {b:9.1f} ms ({b / a:.3f} x)" for kind, (a, b) in of.items()]
    print(f"{name:8} {', '.join(parts)}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="cpu512")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--checkpointing", action="store_true", help="recompute layers in the backward pass")
    parser.add_argument("--profile", action="store_true", help="print the costliest operators of a CLI step")
    arguments = parser.parse_args()
    shape, dtype = SHAPES[arguments.shape], getattr(torch, arguments.dtype)
    plain = build(shape, arguments.device, dtype)
    cli = with_injection(build(shape, arguments.device, dtype))
    if arguments.checkpointing:
        for model in (plain, cli):
            model.activation_checkpointing_enable({"use_reentrant": False})
    inputs = inputs_of(shape, arguments.batch, arguments.device, dtype)
    models = (plain, cli)
    steps = [partial(train_step, model, inputs) for model in models]
    compare("step", steps, arguments.repeats)
    memory = [peak_GiB(step) for step in steps]
    print(f"memory   {memory[0]:.3f} -> {memory[1]:.3f} GiB (+{memory[1] - memory[0]:.3f})")
    compare("prefill", [partial(prefill, model, inputs) for model in models], arguments.repeats)
    compare("decode", [partial(decode, model, inputs, prefill(model, inputs)) for model in models], arguments.repeats)
    if arguments.profile:
        with torch.profiler.profile() as profile:
            steps[1]()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    main()
