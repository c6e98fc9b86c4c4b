"""Batches and CLI models that the model tests share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.config import InjectionConfig
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny

SIZES = ((50, 90), (32, 32), (96, 40), (90, 95), (64, 64))
"""(height, width) of images in turn: from one tile to 3 x 3 and the thumbnail."""


def image(seed: int) -> Image.Image:
    """A noise image, its size by turn."""
    height, width = SIZES[seed % len(SIZES)]
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def batch(processor: ProcessorMixin, counts: Sequence[int], side: str = "right") -> dict[str, Tensor]:
    """One sample per entry of `counts`, with that many images, texts of unequal lengths, padded at `side`."""
    images = [[image(10 * row + i) for i in range(count)] for row, count in enumerate(counts)]
    texts = [f"{'<image>' * count} tell {'me ' * row}more" for row, count in enumerate(counts)]
    given = [of_sample for of_sample in images if of_sample] or None
    encoded = processor(images=given, text=texts, padding=True, padding_side=side, return_tensors="pt")
    return dict(encoded)


def injection(**changes: Any) -> InjectionConfig:
    """Three vision layers into three decoder layers (`static` one into one), with small heads."""
    small: dict[str, Any] = {"vision_layers": [1, 3, 5], "decoder_layers": [0, 2, 4], "amp": {"rank": 4}}
    if changes.get("kind") == "static":
        small |= {"vision_layers": [3], "decoder_layers": [2]}
    small["agf"] = {"num_heads": 2, "hidden_size": 8}
    for key, value in changes.items():
        small[key] = small.get(key, {}) | value if isinstance(value, dict) else value
    return InjectionConfig.model_validate(small)


def cli_model(family: str, seed: int = 0, *, opened: bool = True, **changes: Any) -> PreTrainedModel:
    """A tiny CLI model; `opened` sets all that starts at zero at random, so that every path counts."""
    model = attach(build_tiny(family), injection(**changes))
    if opened:
        open_gates(model, seed)
    return model


@torch.no_grad()
def open_gates(model: PreTrainedModel, seed: int = 0) -> None:
    """Give gates and low-rank paths random weights."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if any(word in name for word in ("_gate", "agf.bias", "amp.up", "external")):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


def logits(model: PreTrainedModel, inputs: dict[str, Tensor], **kwargs: Any) -> Tensor:
    """The logits without gradient."""
    with torch.no_grad():
        result: Tensor = model(**inputs, **kwargs).logits
    return result
