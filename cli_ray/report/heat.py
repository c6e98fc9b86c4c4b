"""Where in a picture injection changed the hidden states, laid over the picture: one small sheet for all layers."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from cli_ray.data.images import Limits, decode
from cli_ray.data.sample import BadDataError
from cli_ray.inference.injected import HeatMap

SIDE = 160
"""Longest side of a picture in the sheet, pixels."""
COLUMNS = 3
"""Pictures side by side, which a phone still shows."""
_GAP = 4
_LINE = 14
_COLOUR = np.array([255, 40, 0], np.float64)
_COVER = 0.75
"""Of the picture that the largest change hides."""
_LIMITS = Limits(1024 * 1024, 64 * 1024)
"""Of a thumbnail."""


def sheet(thumbnail: bytes, heat: HeatMap, layers: Sequence[int]) -> bytes | None:
    """WebP of the picture, and with it the picture in grey under the heat of each decoder layer, up to the largest of
    that layer; None if it is broken.

    Args:
        thumbnail: the encoded picture.
        heat: of its sample.
        layers: the decoder layers of the heat.
    """
    try:
        picture = decode(thumbnail, _LIMITS)
    except BadDataError:
        return None
    file = io.BytesIO()
    drawn(picture, heat, layers).save(file, "WEBP", quality=60)
    return file.getvalue()


def drawn(picture: Image.Image, heat: HeatMap, layers: Sequence[int]) -> Image.Image:
    """The sheet itself.

    Args:
        picture: RGB; made small in place.
        heat: of its sample.
        layers: the decoder layers of the heat.
    """
    picture.thumbnail((SIDE, SIDE))
    heat_MHW = np.frombuffer(heat.values, np.uint8).reshape(len(layers), *heat.grid)
    shown = [picture, *(_heated(picture, heat_HW, heat.area) for heat_HW in heat_MHW)]
    labels = ["picture", *(f"layer {layer}" for layer in layers)]
    width, height = max(picture.width, 60) + _GAP, picture.height + _LINE + _GAP
    page = Image.new("RGB", (width * COLUMNS - _GAP, height * -(-len(shown) // COLUMNS)), "white")
    draw = ImageDraw.Draw(page)
    for number, (each, label) in enumerate(zip(shown, labels, strict=True)):
        left, top = number % COLUMNS * width, number // COLUMNS * height
        page.paste(each, (left, top + _LINE))
        draw.text((left, top + 1), label, fill="black")
    return page


def _heated(picture: Image.Image, heat_HW: NDArray[np.uint8], area: Sequence[float]) -> Image.Image:
    """The picture under a layer's heat; what the model does not see stays as it is."""
    left, top, right, bottom = (
        round(edge * side) for edge, side in zip(area, (picture.width, picture.height) * 2, strict=True)
    )
    size = (max(1, right - left), max(1, bottom - top))
    scaled = (255.0 * heat_HW / max(1, heat_HW.max())).round().astype(np.uint8)
    whole = Image.new("L", picture.size)
    whole.paste(Image.fromarray(scaled).resize(size, Image.Resampling.BILINEAR), (left, top))
    cover = _COVER * np.asarray(whole, np.float64)[..., None] / 255
    mixed = np.asarray(ImageOps.grayscale(picture), np.float64)[..., None] * (1 - cover) + _COLOUR * cover
    return Image.fromarray(mixed.round().astype(np.uint8))
