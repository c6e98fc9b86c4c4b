"""Pictures drawn in code: scenes of coloured shapes, short texts and bar charts, each with what is to be seen."""

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont

SIDE = 32
"""Side of a picture, pixels."""
COLOURS = {"red": (220, 30, 30), "green": (20, 160, 60), "blue": (40, 70, 230), "yellow": (250, 210, 20)}
CHARACTERS = "ACEHT23457"
PLACES = ("left", "middle", "right")


@dataclass(frozen=True)
class Drawing:
    """A picture, with a question on the whole of it and one on a detail, each with its answer."""

    image: Image.Image
    whole: tuple[str, str]
    detail: tuple[str, str]


def draw_scene(random: Random) -> Drawing:
    """One to four shapes in the cells of a 2 x 2 grid; a dot on one of them."""
    image, draw = _canvas(random)
    cells = random.sample([(x, y) for x in (0, 16) for y in (0, 16)], random.randint(1, 4))
    for x, y in cells:
        colour, dot = random.sample(list(COLOURS), 2)
        _shape(draw, random, x + 1 + random.randint(0, 2), y + 1 + random.randint(0, 2), COLOURS[colour])
    # The last shape carries the dot, in another colour than its own.
    x, y = x + 6 + random.randint(0, 1), y + 6 + random.randint(0, 1)
    draw.rectangle((x, y, x + 4, y + 4), fill=COLOURS[dot])
    return Drawing(image, whole=("how many shapes?", str(len(cells))), detail=("colour of the dot?", dot))


def draw_text(random: Random) -> Drawing:
    """One or two dark characters."""
    image, draw = _canvas(random)
    word = "".join(random.choice(CHARACTERS) for _ in range(random.randint(1, 2)))
    x = random.randint(0, 2) + (0 if len(word) == 2 else random.choice((0, 16)))
    y = random.randint(0, 4)
    font = ImageFont.load_default(22)
    for position, character in enumerate(word):
        draw.text((x + 16 * position, y), character, font=font, fill=(20, 20, 20))
    return Drawing(image, whole=("what does it say?", word), detail=("last character?", word[-1]))


def draw_chart(random: Random) -> Drawing:
    """Three bars of different colours and heights."""
    image, draw = _canvas(random)
    colours = random.sample(list(COLOURS), 3)
    heights = random.sample((6, 12, 18, 24), 3)
    for place, (colour, height) in enumerate(zip(colours, heights, strict=True)):
        x, top = 2 + 10 * place, SIDE - 2 - height - random.randint(0, 2)
        draw.rectangle((x, top, x + 7, SIDE - 2), fill=COLOURS[colour])
    highest, lowest = heights.index(max(heights)), heights.index(min(heights))
    return Drawing(image, ("highest bar?", PLACES[highest]), ("colour of the lowest bar?", colours[lowest]))


def _canvas(random: Random) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    grey = random.randint(225, 255)
    image = Image.new("RGB", (SIDE, SIDE), (grey, grey, grey))
    return image, ImageDraw.Draw(image)


def _shape(draw: ImageDraw.ImageDraw, random: Random, x: int, y: int, colour: tuple[int, int, int]) -> None:
    box = (x, y, x + 12, y + 12)
    match random.choice(("square", "circle", "triangle")):
        case "square":
            draw.rectangle(box, fill=colour)
        case "circle":
            draw.ellipse(box, fill=colour)
        case _:
            draw.polygon([(x, y + 12), (x + 12, y + 12), (x + 6, y)], fill=colour)
