"""Small shards for the tests of the data package."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.images import Limits
from cli_ray.data.index import Index, build_index
from cli_ray.data.sample import SCHEMA, BadSample, Sample
from cli_ray.data.source import read_samples


def picture(number: int = 0, width: int = 40, height: int = 30) -> bytes:
    """A PNG of noise, another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def turns(number: int = 0, images: int = 1) -> list[dict[str, str]]:
    """Messages of a sample; longer ones for higher numbers."""
    question = "<image>\n" * images + "What is it?"
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"Number {number}. " * (number % 4 + 1)},
    ]


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """A tar file of the members."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def tar_members(count: int, first: int = 0) -> list[tuple[str, bytes]]:
    """A PNG and a .json with messages for each sample."""
    return [
        member
        for number in range(first, first + count)
        for member in (
            (f"{number:05d}.png", picture(number)),
            (f"{number:05d}.json", json.dumps({"messages": turns(number)}).encode()),
        )
    ]


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], row_group_size: int = 4) -> None:
    """A Parquet file in the schema of `Sample`."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), path, row_group_size=row_group_size)


def table_rows(count: int) -> list[dict[str, Any]]:
    """Rows in the schema of `Sample`."""
    return [{"id": f"{n:05d}", "images": [picture(n)], "messages": turns(n), "source": "x"} for n in range(count)]


def data_config(*paths: Path | str, **fields: Any) -> DataConfig:
    """A data section over some paths, with small units and windows."""
    sources = tuple(SourceConfig(path=str(path), name=f"s{i}") for i, path in enumerate(paths))
    return DataConfig(**{"sources": sources, "unit_samples": 4, "window_samples": 8, "max_length": 4096, **fields})


def read_all(data: DataConfig) -> list[Sample | BadSample]:
    """All samples in the order of the index."""
    index, limits = build_index(data), Limits.of(data)
    return [sample for number in range(len(index)) for sample in read_unit(index, number, limits)]


def read_unit(index: Index, number: int, limits: Limits) -> list[Sample | BadSample]:
    """The samples of one unit."""
    unit = index.unit(number)
    return list(read_samples(index.sources[unit.source], unit.path, unit.span, unit.first, limits))


def json_source(folder: Path, *records: Mapping[str, Any], **fields: Any) -> DataConfig:
    """JSON lines of some records beside `0.png` to `3.png`, with further fields of their source."""
    for n in range(4):
        (folder / f"{n}.png").write_bytes(picture(n))
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, records)))
    return DataConfig(sources=(SourceConfig(path=str(folder / "x.jsonl"), **fields),), max_length=4096)


def read_json(folder: Path, *records: Mapping[str, Any], **fields: Any) -> list[Sample | BadSample]:
    """What comes of such records."""
    return read_all(json_source(folder, *records, **fields))


def talk(question: Any = "What is it?", answer: Any = "A cat.", **fields: Any) -> dict[str, Any]:
    """A record of one question and its answer."""
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        **fields,
    }
