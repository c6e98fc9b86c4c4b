"""A synthetic dataset: pictures drawn in code, with questions on the whole and on a detail of each.

Scenes of coloured shapes, short texts and bar charts. The demo trains on it, drills and tests read its shards, and the
bundled items of the benchmarks show its pictures.
"""

import hashlib
import io
import json
import tarfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from cli_ray.data.sample import IMAGE_MARK, SCHEMA

SIDE = 32
"""Side of a picture, pixels."""
COLOURS = {"red": (220, 30, 30), "green": (20, 160, 60), "blue": (40, 70, 230), "yellow": (250, 210, 20)}
CHARACTERS = "ACEHT23457"
PLACES = ("left", "middle", "right")
HELD_OUT_SHARE = 0.1

Kind = Literal["scene", "text", "chart"]
Scope = Literal["whole", "detail"]
Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class Drawing:
    """A picture, with a question on the whole of it and one on a detail, each with its answer."""

    image: Image.Image
    whole: tuple[str, str]
    detail: tuple[str, str]


@dataclass(frozen=True)
class Turn:
    """One question on a picture."""

    scope: Scope
    question: str
    answer: str


@dataclass(frozen=True)
class SyntheticSample:
    """A picture and what is asked about it."""

    id: str
    kind: Kind
    image: bytes
    """PNG."""
    turns: tuple[Turn, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation, with the image in its first message."""
        messages = []
        for number, turn in enumerate(self.turns):
            prompt = turn.question if number else f"{IMAGE_MARK}\n{turn.question}"
            messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": turn.answer}]
        return messages


def synthesize(count: int, seed: int, split: Split) -> list[SyntheticSample]:
    """Draws `count` samples, the kinds in turn, each with a question on the whole and one on a detail.

    A picture's own bytes decide which split it belongs to, so no picture is in both, whatever the
    seeds. The same arguments give the same bytes with the same version of Pillow.
    """
    return [_sample(index, seed, split) for index in range(count)]


def chance_level(samples: Iterable[SyntheticSample]) -> dict[str, float]:
    """Per question the share of its most frequent answer: what guessing without looking can score."""
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        for turn in sample.turns:
            answers[turn.question][turn.answer] += 1
    return {question: counts.most_common(1)[0][1] / counts.total() for question, counts in answers.items()}


def write_tar(samples: Sequence[SyntheticSample], folder: Path, shard_size: int) -> None:
    """Writes webdataset shards `shard-00000.tar`, ... of PNG and `conversations` JSON into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    speakers = {"user": "human", "assistant": "gpt"}
    for number, shard in enumerate(_slices(samples, shard_size)):
        with tarfile.open(folder / f"shard-{number:05d}.tar", "w") as tar:
            for sample in shard:
                turns = [{"from": speakers[m["role"]], "value": m["content"]} for m in sample.messages]
                label = json.dumps({"id": sample.id, "conversations": turns}).encode()
                for suffix, content in (("png", sample.image), ("json", label)):
                    member = tarfile.TarInfo(f"{sample.id}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def write_parquet(samples: Sequence[SyntheticSample], folder: Path, rows_per_file: int) -> None:
    """Writes `part-00000.parquet`, ... of the project's sample rows into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(_slices(samples, rows_per_file)):
        rows = [
            {"id": sample.id, "images": [sample.image], "messages": sample.messages, "source": folder.name}
            for sample in part
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / f"part-{number:05d}.parquet")


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


PAINTERS: dict[Kind, Callable[[Random], Drawing]] = {"scene": draw_scene, "text": draw_text, "chart": draw_chart}


def _sample(index: int, seed: int, split: Split) -> SyntheticSample:
    kind = list(PAINTERS)[index % len(PAINTERS)]
    random = Random(f"{seed}/{split}/{index}")
    while True:
        drawing = PAINTERS[kind](random)
        pixels = hashlib.sha256(drawing.image.tobytes()).digest()
        if (pixels[0] < 256 * HELD_OUT_SHARE) == (split == "held_out"):
            break
    turns = [Turn("whole", *drawing.whole), Turn("detail", *drawing.detail)]
    random.shuffle(turns)
    image = io.BytesIO()
    drawing.image.save(image, "PNG")
    return SyntheticSample(f"{split}-{seed}-{index:06d}", kind, image.getvalue(), tuple(turns))


def _slices(samples: Sequence[SyntheticSample], size: int) -> Iterable[Sequence[SyntheticSample]]:
    return (samples[start : start + size] for start in range(0, len(samples), size))


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
