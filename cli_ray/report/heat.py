"""Where in a picture injection changed the hidden states, laid over the picture: one small strip for all layers."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from cli_ray.data.images import Limits, decode
from cli_ray.data.sample import BadDataError
from cli_ray.evals.records import HeatMap

SIDE = 160
"""Longest side of a picture in the strip, pixels."""
_GAP = 4
_LINE = 14
_COLOUR = np.array([255, 40, 0], np.float64)
_COVER = 0.75
"""Of the picture that the largest change hides."""
_LIMITS = Limits(1024 * 1024, 64 * 1024)
"""Of a thumbnail."""


def strip(thumbnail: bytes, heat: HeatMap, layers: Sequence[int]) -> bytes | None:
    """WebP of the picture, and beside it the picture under the heat of each decoder layer; None if it is broken.

    Args:
        thumbnail: the encoded picture.
        heat: of its sample.
        layers: the decoder layers of the heat.
    """
    try:
        picture = decode(thumbnail, _LIMITS)
    except BadDataError:
        return None
    picture.thumbnail((SIDE, SIDE))
    shares_MHW = np.frombuffer(heat.values, np.uint8).reshape(len(layers), *heat.grid) / 255
    shown = [picture, *(_heated(picture, share_HW, heat.area) for share_HW in shares_MHW)]
    labels = ["picture", *(f"layer {layer}" for layer in layers)]
    width = max(picture.width, 60) + _GAP
    page = Image.new("RGB", (width * len(shown) - _GAP, picture.height + _LINE), "white")
    draw = ImageDraw.Draw(page)
    for number, (each, label) in enumerate(zip(shown, labels, strict=True)):
        page.paste(each, (number * width, _LINE))
        draw.text((number * width, 1), label, fill="black")
    file = io.BytesIO()
    page.save(file, "WEBP", quality=60)
    return file.getvalue()


def _heated(picture: Image.Image, share_HW: np.ndarray, area: Sequence[float]) -> Image.Image:
    """The picture under a layer's heat; what the model does not see stays as it is."""
    left, top, right, bottom = (
        round(edge * side) for edge, side in zip(area, (picture.width, picture.height) * 2, strict=True)
    )
    size = (max(1, right - left), max(1, bottom - top))
    map_ = Image.fromarray((255 * share_HW).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    whole = Image.new("L", picture.size)
    whole.paste(map_, (left, top))
    cover = _COVER * np.asarray(whole, np.float64)[..., None] / 255
    mixed = np.asarray(picture, np.float64) * (1 - cover) + _COLOUR * cover
    return Image.fromarray(mixed.round().astype(np.uint8))
