"""How many tokens a prompt will take, from sizes alone: what batches are made by before any image is decoded."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import ceil
from typing import Any

from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""
ImageTokens = Callable[[Sequence[Size]], int]
"""From the sizes of an item's images to the tokens that they take together."""

CHARACTERS_PER_TOKEN = 3
"""Fewer than in English prose, so that estimates of mixed text err on the long side."""
TEMPLATE_TOKENS = 48
"""What a chat template puts around a prompt, generously."""
STRIDE = 16
"""Pixels by which sides are rounded up before a picture is measured, so that few sizes are."""


def text_tokens(characters: int) -> int:
    """About how many tokens a prompt of so many characters becomes."""
    return TEMPLATE_TOKENS + ceil(characters / CHARACTERS_PER_TOKEN)


def image_tokens(config: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> ImageTokens:
    """How a model of our families counts images.

    Args:
        config: the content of its `config.json`.
        settings: the content of its `processor_config.json`, which may hold an image budget; None if it has none.
    """
    # The families import torch, which judging and planning do without.
    from cli_ray.model.families import family_named, name_of
    from cli_ray.tiles import Budget

    values = settings or {}
    budget = Budget(values.get("max_tiles"), values.get("max_image_tokens"))
    return family_named(name_of(config.get("model_type"))).image_counter(config, budget)


def counted_by(processor: Any) -> ImageTokens:
    """How a model of another family counts images: as its processor says, or else makes of a blank picture.

    Args:
        processor: of the model.
    """
    from cli_ray.inference.quirks import image_counter  # of transformers, which judging and planning do without

    told = image_counter(processor)

    @cache
    def one(size: Size) -> int:
        if told is None:
            return measured(*(ceil(side / STRIDE) * STRIDE for side in size))
        (count,) = told(image_sizes=[(size[1], size[0])])["num_image_tokens"]
        return int(count)

    @cache
    def measured(width: int, height: int) -> int:
        blank = Image.new("RGB", (width, height))
        return len(processor(images=[[blank]], text=[processor.image_token])["input_ids"][0])

    return lambda sizes: sum(map(one, sizes))
