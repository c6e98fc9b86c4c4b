"""Data in the official columns of ChartQA, as files and as a cache of the Hugging Face hub."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

REVISION = "0123456789abcdef0123456789abcdef01234567"


def png(width: int = 4, height: int = 3) -> bytes:
    """A small image."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (width % 256, height % 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def charts(count: int, image: Any = None) -> list[dict[str, Any]]:
    """Rows of ChartQA, each with its number as the answer."""
    cell = {"bytes": png(), "path": None} if image is None else image
    return [
        {"question": f"how many? ({row})", "answer": str(row), "type": "human_test", "image": cell}
        for row in range(count)
    ]


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], group_rows: int = 100) -> Path:
    """A Parquet file in row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=group_rows)
    return path


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def cached_repo(cache: Path, repo: str) -> Path:
    """The snapshot folder of a dataset in a cache, ready to be filled."""
    folder = cache / f"datasets--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    return snapshot
