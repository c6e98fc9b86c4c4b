"""Tiny models in folders and small ChartQA tables, shared by the tests of the pool and of predictions."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.evals.generation.job import Job, decoding
from cli_ray.evals.items.location import Location
from cli_ray.evals.items.sources import locate
from cli_ray.evals.items.survey import Entry, scan
from cli_ray.evals.suite import benchmark

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "chartqa"
TOKENS = benchmark(NAME).max_new_tokens
REPLICA = ReplicaConfig(gpus=0, cpus=1, dtype="fp32", batch_size=4)
SIZES = ((90, 50), (32, 32), (40, 96), (95, 90), (64, 64), (33, 70))
"""(width, height) of images in turn: from one tile to 3 x 3 and the thumbnail."""


def save_model(folder: Path, family: str, model: "PreTrainedModel | None" = None) -> str:
    """A tiny model with its processor, as an export leaves it. Plain unless one is given."""
    # Not above, for the replicas of the pool's tests, which have no model, import this module too.
    from cli_ray.model.tiny import build_tiny, tiny_processor

    model = model or build_tiny(family)
    # Untrained weights like the image token as well as any other; a trained model never says it.
    model.lm_head.weight.data[model.config.image_token_id] = 0
    model.save_pretrained(folder)
    tiny_processor(family).save_pretrained(folder)
    return str(folder)


def png(seed: int) -> bytes:
    """A noise image, its size by turn."""
    width, height = SIZES[seed % len(SIZES)]
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def row(seed: int, images: int = 1) -> dict[str, Any]:
    """A ChartQA row; its image column holds a list where there is not exactly one."""
    cells = [{"bytes": png(10 * seed + index), "path": None} for index in range(images)]
    return {"question": f"How {'very ' * (seed % 4)}high?", "answer": "1", "type": "human_test", "image": cells}


def write_rows(root: Path, rows: Sequence[dict[str, Any]], group: int = 8) -> Location:
    """Writes a data root and finds ChartQA in it; row groups of `group` rows are its parts."""
    folder = root / NAME
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "test.parquet", row_group_size=group)
    return locate(benchmark(NAME), str(root), False)


def entries_of(location: Location, replica: ReplicaConfig = REPLICA) -> list[Entry]:
    """All items."""
    how = decoding(TOKENS, replica)
    return [entry for part in location.parts for entry in scan(location, part, how, "model")]


def job_of(model: str, location: Location, replica: ReplicaConfig = REPLICA) -> Job:
    """The job of one benchmark."""
    return Job(model, "model", replica, {location.benchmark.name: location})


def sixteen(sizes: Sequence[tuple[int, int]]) -> int:
    """Counts images as the tiny LLaVA does."""
    return 16 * len(sizes)
