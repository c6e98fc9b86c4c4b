"""Small data of own benchmarks, in the layouts that people have."""

import base64
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import tomli_w

from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.own.files import benchmarks_of
from tests.evals.items.hub_cache import png

COLOURS = ("red", "green", "blue", "yellow")
LETTERS = {
    "name": "colours",
    "data": "colours.tsv",
    "prompt": "{question}\n{options}\nAnswer with a letter.",
    "columns": {"id": "index", "question": "question", "options": ["A", "B", "C", "D"]},
    "scorer": "letter",
    "facets": ["category"],
    "max_new_tokens": 8,
    "notes": ["Drawn."],
}
"""A definition on `write_tsv`."""


def encoded(width: int) -> str:
    """A picture in base64, as text formats hold it."""
    return base64.b64encode(png(width, 3)).decode()


def write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """A CSV or TSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([head, *rows])
    return path


def write_tsv(folder: Path, rows: int = 6) -> Path:
    """A table as VLMEvalKit publishes them: the image in base64; the last row but one names that of the first row, the
    last one holds a list of two."""
    images = [encoded(4 + row) for row in range(rows)]
    images[-2:] = ["100", str(images[:2])]
    body = [
        (
            100 + row,
            image,
            f'Which "colour",\tin row\n{row}?',
            *COLOURS[:3],
            ("", "black")[row % 2],
            "ABC"[row % 3],
            kind,
        )
        for row, (image, kind) in enumerate(zip(images, ("warm", "cold") * rows, strict=False))
    ]
    head = ("index", "image", "question", "A", "B", "C", "D", "answer", "category")
    return write_table(folder / "colours.tsv", head, body)


def write_folder(folder: Path, rows: int = 4) -> Path:
    """A folder of pictures with a table of their names."""
    names = [f"{row}.png" for row in range(rows)]
    write_table(folder / "metadata.csv", ("file_name", "label"), list(zip(names, COLOURS, strict=False)))
    for row, name in enumerate(names):
        (folder / name).write_bytes(png(4 + row, 3))
    return folder


def write_toml(folder: Path, definition: Mapping[str, object], name: str = "mine.toml") -> str:
    """The file of a definition."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(tomli_w.dumps(definition))
    return str(folder / name)


def made_of(folder: Path, **changes: object) -> Benchmark:
    """The benchmark of `LETTERS` with changes."""
    [benchmark] = benchmarks_of(write_toml(folder, LETTERS | changes))
    return benchmark
