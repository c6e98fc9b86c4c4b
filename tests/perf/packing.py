"""A packed row against padded micro-batches of 4: real tokens a second of forward and backward passes, as ratios.

    python -m tests.perf.packing
    python -m tests.perf.packing --shape llava15_7b --device cuda --dtype bfloat16 --attention flash_attention_2 \\
        --image-size 336 --checkpointing

The same samples in each layout: texts of log-normal lengths (median 150, sigma 0.9), nine in ten with an image before
them, the second half of each text supervised, until a row of `--tokens` is full. The model is that of
`tests.perf.injection`, gates open. Micro-batches are cut from the samples as they come, and sorted by length. Runs of
the layouts are interleaved.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from tests.model.packs import Sample, losses, packed, padded
from tests.perf.injection import SHAPES, build, clock, synchronise, with_injection

IMAGE, MICRO_BATCH = 3, 4


def draw(tokens: int, sigma: float, image_size: int, vocabulary: int) -> list[Sample]:
    """Samples of at most `tokens` together, in no order; without a spread all are alike."""
    random, total, patches = np.random.default_rng(0), 0, (image_size // 14) ** 2
    samples: list[Sample] = []
    while True:
        text = max(4, int(random.lognormal(np.log(150), sigma)))
        images = int(random.random() < 0.9 or sigma == 0)
        total += text + images * patches
        if total > tokens:
            return samples
        ids = torch.from_numpy(random.integers(4, vocabulary, (1, images * patches + text)))
        ids[:, : images * patches] = IMAGE
        labels = F.pad(ids[:, -(text // 2) :], (ids.shape[1] - text // 2, 0), value=-100)
        pixels = {"pixel_values": torch.randn(1, 3, image_size, image_size)} if images else {}
        samples.append({"input_ids": ids, "labels": labels, "turn_ids": (labels != -100).long()} | pixels)
        samples[-1]["attention_mask"] = torch.ones_like(ids)


def micro_batches(samples: Sequence[Sample]) -> list[dict[str, Tensor]]:
    """Padded, in the order given."""
    return [padded(samples[start : start + MICRO_BATCH]) for start in range(0, len(samples), MICRO_BATCH)]


def train(model: PreTrainedModel, batches: Sequence[dict[str, Tensor]]) -> None:
    """Forward and backward over all of them."""
    model.zero_grad(set_to_none=False)
    for inputs in batches:
        torch.autograd.backward(losses(model, inputs).sum())


def seconds(run: Callable[[], None]) -> float:
    """Of one run."""
    synchronise()
    start = clock()
    run()
    synchronise()
    return clock() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="cpu512")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--sigma", type=float, default=0.9, help="of the logarithm of lengths; 0: all alike")
    parser.add_argument("--image-size", type=int, default=168, help="side in pixels; a token for each 14 x 14")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true", help="recompute layers in the backward pass")
    arguments = parser.parse_args()
    shape, dtype, size = SHAPES[arguments.shape], getattr(torch, arguments.dtype), arguments.image_size
    model = with_injection(build(shape, arguments.device, dtype, size)).train()
    model.set_attn_implementation(arguments.attention)
    if arguments.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    samples = draw(arguments.tokens, arguments.sigma, size, shape.vocabulary)
    by_length = sorted(samples, key=lambda sample: sample["input_ids"].shape[1])
    real = sum(sample["input_ids"].shape[1] for sample in samples)
    layouts = {
        "packed": [packed([samples])],
        "padded, sorted": micro_batches(by_length),
        "padded, unsorted": micro_batches(samples),
    }
    runs = {}
    for name, batches in layouts.items():
        moved = [{key: tensor.to(arguments.device) for key, tensor in inputs.items()} for inputs in batches]
        for inputs in moved:
            if "pixel_values" in inputs:
                inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
        runs[name] = partial(train, model, moved)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(arguments.repeats + 1):
        for name, run in runs.items():
            elapsed = seconds(run)
            if repeat:
                times[name].append(elapsed)
    print(f"{len(samples)} samples, {real} tokens, {arguments.attention}, {arguments.dtype}")
    for name, values in times.items():
        laid = sum(inputs["input_ids"].numel() for inputs in layouts[name])
        ratios = [value / own for value, own in zip(values, times["packed"], strict=True)]
        print(
            f"{name:18} padding {1 - real / laid:5.1%}, {real / median(values):9.1f} real tokens/s; packed is "
            f"{median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
