"""How many tokens a prompt will take, from sizes alone: what batches are made by before any image is decoded."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, sqrt
from typing import Any

from cli_ray.errors import UserError

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


def image_tokens(config: Mapping[str, Any]) -> ImageTokens:
    """How a model counts images.

    Args:
        config: the content of its `config.json`.

    Raises:
        UserError: it is neither a LLaVA-1.5 nor a LLaVA-OneVision, plain or with injection, or in LLaVA's original
            format.
    """
    if "mm_vision_tower" in config:
        raise UserError(
            "model is in LLaVA's original format, which `cli-ray train` reads and evaluation does not: evaluate the "
            "export of a run on it (cli-ray export), or its twin in Hugging Face's format, such as "
            "llava-hf/llava-1.5-7b-hf"
        )
    kind = str(config.get("model_type", "")).removeprefix("cli_")
    if kind not in ("llava", "llava_onevision"):
        raise UserError(f"model is a {config.get('model_type')!r}; only llava and llava_onevision can be evaluated")
    vision = config["vision_config"]
    tile, side = int(vision["image_size"]), int(vision["image_size"]) // int(vision["patch_size"])
    if kind == "llava":
        return lambda sizes: side * side * len(sizes)
    grid = [(height, width) for height, width in config["image_grid_pinpoints"]]
    most = int(str(config.get("vision_aspect_ratio", "anyres_max_9")).removeprefix("anyres_max_"))

    def count(sizes: Sequence[Size]) -> int:
        if len(sizes) == 1:
            return side * side + _tiled(sizes[0], grid, tile, side, most)
        return len(sizes) * (side * side + 1)  # several images are not tiled; each ends with a newline token

    return count


def _tiled(size: Size, grid: Sequence[tuple[int, int]], tile: int, side: int, most: int) -> int:
    """Tokens of an image's tiles after the padding is cut off, one newline token a row.

    Args:
        size: of the image.
        grid: (height, width) of the canvases that it may be laid on.
        tile: side of a tile in pixels.
        side: patches along the side of a tile.
        most: tiles above whose number of patches the whole is scaled down.
    """
    width, height = size
    canvas_height, canvas_width = _canvas(size, grid)
    rows, columns = canvas_height // tile * side, canvas_width // tile * side
    if width / height > columns / rows:
        rows -= (rows - int(round(height * columns / width, 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * rows / height, 7))) // 2 * 2
    ratio = sqrt(rows * columns / (most * side**2))
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    return rows * columns + rows


def _canvas(size: Size, grid: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The canvas that keeps most pixels of an image, and among those the smallest."""
    width, height = size

    def merit(canvas: tuple[int, int]) -> tuple[int, int]:
        scale = min(canvas[1] / width, canvas[0] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - canvas[0] * canvas[1]

    return max(grid, key=merit)
