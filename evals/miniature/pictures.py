"""Pictures of the bundled items, drawn from what their rows say of them, such as `{"bars": {"Rice": 7, "Tea": 4}}`."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import cos, pi, sin
from random import Random
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from cli_ray.data.synthetic import COLOURS, draw_chart, draw_scene, draw_text

_INK = (20, 20, 20)
_PAPER = (248, 248, 244)
_SKETCHES = {"scene": draw_scene, "text": draw_text, "chart": draw_chart}


def png(what: Mapping[str, Any]) -> bytes:
    """The picture as PNG; the same for the same description.

    Args:
        what: the kind of picture and what is in it (a key of `_KINDS`), and `scale`, which enlarges it.
    """
    (kind, content), *rest = what.items()
    picture = _KINDS[kind](content)
    scale = dict(rest).get("scale", 1)
    buffer = io.BytesIO()
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), _PAPER)
    return image, ImageDraw.Draw(image)


def _row(shapes: Sequence[str]) -> Image.Image:
    """Coloured shapes from left to right, such as `red circle`."""
    image, draw = _canvas(48 * max(len(shapes), 1), 48)
    for place, shape in enumerate(shapes):
        _shape(draw, shape, 48 * place + 8, 8, 32)
    return image


def _column(shapes: Sequence[str]) -> Image.Image:
    """Coloured shapes from top to bottom."""
    image, draw = _canvas(64, 48 * max(len(shapes), 1))
    for place, shape in enumerate(shapes):
        _shape(draw, shape, 16, 48 * place + 8, 32)
    return image


def _shape(draw: ImageDraw.ImageDraw, named: str, x: int, y: int, side: int) -> None:
    """A shape. `small` makes it half as large, `dotted` puts a dark dot in it, `left` and `right` turn a triangle."""
    *words, form = named.split()
    if "small" in words:
        x, y, side = x + side // 4, y + side // 4, side // 2
    colour = next(COLOURS[word] for word in words if word in COLOURS)
    if form == "circle":
        draw.ellipse((x, y, x + side, y + side), fill=colour)
    elif form == "square":
        draw.rectangle((x, y, x + side, y + side), fill=colour)
    else:
        turn = 0.0 if "right" in words else pi if "left" in words else -pi / 2
        middle, half = (x + side / 2, y + side / 2), side / 2
        corners = [turn + third * 2 * pi / 3 for third in range(3)]
        draw.polygon([(middle[0] + half * cos(a), middle[1] + half * sin(a)) for a in corners], fill=colour)
    if "dotted" in words:
        draw.ellipse((x + side / 3, y + side / 3, x + 2 * side / 3, y + 2 * side / 3), fill=_INK)


def _bars(values: Mapping[str, float]) -> Image.Image:
    """A bar chart with names below and numbers above the bars."""
    image, draw = _canvas(20 + 44 * len(values), 120)
    for place, (name, value) in enumerate(values.items()):
        x, height = 14 + 44 * place, round(70 * value / max(values.values()))
        draw.rectangle((x, 100 - height, x + 28, 100), fill=list(COLOURS.values())[place % len(COLOURS)])
        draw.text((x + 14, 98 - height), f"{value:g}", font=_font(11), fill=_INK, anchor="mb")
        draw.text((x + 14, 103), name, font=_font(11), fill=_INK, anchor="mt")
    draw.line((8, 101, image.width - 8, 101), fill=_INK)
    return image


def _page(lines: Sequence[str]) -> Image.Image:
    """A page of printed lines, the first one larger."""
    image, draw = _canvas(200, 40 + 20 * len(lines))
    for number, line in enumerate(lines):
        draw.text((14, 12 + 22 * number), line, font=_font(16 if number == 0 else 12), fill=_INK)
    draw.rectangle((2, 2, image.width - 3, image.height - 3), outline=_INK)
    return image


def _sign(text: str) -> Image.Image:
    """White letters on a board; a colour may come first, as in `red: STOP`."""
    colour, mark, words = text.rpartition(": ")
    width = round(_font(22).getlength(words)) + 36
    image, draw = _canvas(width, 64)
    draw.rectangle((6, 6, width - 7, 57), fill=COLOURS[colour] if mark else _INK)
    draw.text((width / 2, 32), words, font=_font(22), fill="white", anchor="mm")
    return image


def _chain(names: Sequence[str]) -> Image.Image:
    """Boxes with an arrow from each to the next."""
    image, draw = _canvas(76 * len(names) + 4, 48)
    for place, name in enumerate(names):
        x = 4 + 76 * place
        draw.rectangle((x, 12, x + 54, 36), outline=_INK)
        draw.text((x + 27, 24), name, font=_font(11), fill=_INK, anchor="mm")
        if place + 1 < len(names):
            draw.line((x + 56, 24, x + 72, 24), fill=_INK)
            draw.polygon([(x + 74, 24), (x + 67, 20), (x + 67, 28)], fill=_INK)
    return image


def _triangle(corners: Mapping[str, str]) -> Image.Image:
    """A triangle with a name and a size at each corner."""
    image, draw = _canvas(160, 128)
    points = [(80, 28), (24, 100), (136, 100)]
    draw.polygon(points, outline=_INK)
    for (x, y), (name, size) in zip(points, corners.items(), strict=True):
        draw.text((x, y - 6 if y < 64 else y + 6), f"{name} {size}", font=_font(12), fill=_INK, anchor="mm")
    return image


def _sketch(kind_and_seed: Sequence[Any]) -> Image.Image:
    """A picture of the synthetic training data."""
    kind, seed = kind_and_seed
    return _SKETCHES[kind](Random(seed)).image


_KINDS: dict[str, Callable[[Any], Image.Image]] = {
    "row": _row,
    "column": _column,
    "bars": _bars,
    "page": _page,
    "sign": _sign,
    "chain": _chain,
    "triangle": _triangle,
    "sketch": _sketch,
}
