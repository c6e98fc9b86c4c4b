"""A made dataset for the demo: questions on the whole and on a detail of pictures drawn in code."""

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

from cli_ray.data.drawings import Drawing, draw_chart, draw_scene, draw_text
from cli_ray.data.sample import IMAGE_MARK, SCHEMA

Kind = Literal["scene", "text", "chart"]
Scope = Literal["whole", "detail"]
Split = Literal["train", "held_out"]

HELD_OUT_SHARE = 0.1

PAINTERS: dict[Kind, Callable[[Random], Drawing]] = {"scene": draw_scene, "text": draw_text, "chart": draw_chart}


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
