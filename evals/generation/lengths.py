"""How many tokens a prompt will take, from sizes alone: what batches are made by before any image is decoded."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

from cli_ray.errors import UserError
from cli_ray.registry import FAMILIES

Size = tuple[int, int]
"""Width and height in pixels."""
ImageTokens = Callable[[Sequence[Size]], int]
"""From the sizes of an item's images to the tokens that they take together."""

CHARACTERS_PER_TOKEN = 3
"""Fewer than in English prose, so that estimates of mixed text err on the long side."""
TEMPLATE_TOKENS = 48
"""What a chat template puts around a prompt, generously."""


def text_tokens(characters: int) -> int:
    """About how many tokens a prompt of so many characters becomes."""
    return TEMPLATE_TOKENS + ceil(characters / CHARACTERS_PER_TOKEN)


def image_tokens(config: Mapping[str, Any], processor: Mapping[str, Any] | None = None) -> ImageTokens:
    """How a model counts images.

    Args:
        config: the content of its `config.json`.
        processor: the content of its `processor_config.json`, which may hold an image budget; None if it has none.

    Raises:
        UserError: it is of none of the families that are read, or in LLaVA's original format.
    """
    if "mm_vision_tower" in config:
        raise UserError(
            "model is in LLaVA's original format, which `cli-ray train` reads and evaluation does not: evaluate the "
            "export of a run on it (cli-ray export), or its twin in Hugging Face's format, such as "
            "llava-hf/llava-1.5-7b-hf"
        )
    # The families import torch, which judging and planning do without.
    from cli_ray.model.families import family_named, name_of
    from cli_ray.tiles import Budget

    name = name_of(config.get("model_type"))
    if name not in FAMILIES:
        raise UserError(f"model is a {config.get('model_type')!r}; only {' and '.join(FAMILIES)} can be evaluated")
    settings = processor or {}
    budget = Budget(settings.get("max_tiles"), settings.get("max_image_tokens"))
    return family_named(name).image_counter(config, budget)
