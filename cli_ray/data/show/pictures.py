"""The pictures of a shown sample: as the model sees them, or as they are where the sample cannot be used."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cli_ray.data.encoder import Encoder
from cli_ray.data.images import decode
from cli_ray.data.sample import BadDataError, Encoded, Row, Sample

MAX_PICTURES = 8
"""Of a sample that are shown, the first ones."""
SIDE = 480
"""Of a shown picture at most, pixels."""
_GAP = 12
"""Between tiles, pixels of the model's."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture."""

    facts: list[str]
    """What the file holds, and what the model gets of it."""
    image: Image.Image | None
    """At most `SIDE` pixels wide and high; None where it cannot be decoded."""


def pictures_of(sample: Sample, row: Row, encoder: Encoder) -> list[Picture]:
    """The first pictures of a sample.

    Args:
        row: what the encoder made of the sample.
    """
    return [_picture(sample, row, encoder, number) for number in range(min(len(sample.images), MAX_PICTURES))]


def _picture(sample: Sample, row: Row, encoder: Encoder, number: int) -> Picture:
    content = sample.images[number]
    try:
        image = decode(content, encoder.limits)
    except BadDataError as error:
        return Picture([f"{len(content) / 1024:,.1f} KiB", str(error)], None)
    with Image.open(io.BytesIO(content)) as file:
        format_ = file.format
    facts = [f"{format_}, {image.width:,} x {image.height:,} pixels, {len(content) / 1024:,.1f} KiB"]
    if isinstance(row, Encoded):
        image = _seen(row, encoder, number)
        facts.append(_cost(row, encoder, number))
    image.thumbnail((SIDE, SIDE))
    return Picture(facts, image)


def _cost(row: Encoded, encoder: Encoder, number: int) -> str:
    """What the model gets of an image, and how much less a budget leaves of it."""
    tiles, _, height, width = row.images[number].shape
    tokens = int((row.input_ids == encoder.image_token_id).sum()) // len(row.images)
    cut = f"{tiles - 1} tiles and the whole image, each" if tiles > 1 else "one square of"
    text = f"{cut} {width} x {height} pixels: {tokens:,} tokens"
    if row.shrunk is not None:
        text += f"; shrunk by the image budget, {row.shrunk.full_tokens:,} tokens without it"
    return text


def _seen(row: Encoded, encoder: Encoder, number: int) -> Image.Image:
    """The pixels that the model gets: one square, or its tiles as they lie."""
    tiles = row.images[number]
    canvas = encoder.canvas((int(row.sizes[number][0]), int(row.sizes[number][1]))) if len(tiles) > 1 else None
    if canvas is None:
        return Image.fromarray(_channels_last(tiles[0]))
    _, _, height, width = tiles.shape
    rows, columns = canvas[0] // height, canvas[1] // width
    size = (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP)
    laid = Image.new("RGB", size, "white")
    for i, tile in enumerate(tiles[1:]):
        row_, column = divmod(i, columns)
        laid.paste(Image.fromarray(_channels_last(tile)), (column * (width + _GAP), row_ * (height + _GAP)))
    return laid


def _channels_last(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.moveaxis(tile, 0, -1))
