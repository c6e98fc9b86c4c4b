"""A few items of each benchmark, made for this repository in the official columns, with images drawn by code.

They prove that everything from file to table works; a score on them says nothing of a model. `items/NAME.jsonl` holds
the rows as the official dataset has them, with a description in place of each image and a few abbreviations, which
`columns.py` completes.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.miniature.columns import HIDDEN, IMAGES, complete
from cli_ray.evals.miniature.pictures import png


@lru_cache(maxsize=64)
def docs(name: str) -> list[Doc]:
    """The items of a benchmark. Images are `{bytes, path}` with a PNG, as in the Parquet files of the hub.

    Raises:
        UserError: there are none for this benchmark.
    """
    source, hidden = HIDDEN.get(name, (name, {}))
    return [_drawn(row | hidden) for row in complete(name, _rows(f"{source}.jsonl"))]


@lru_cache(maxsize=4)
def images(name: str) -> dict[str, Mapping[str, Any]]:
    """The images by name of a benchmark whose items share them; as in `docs`."""
    return {row["id"]: _drawn(row)["image"] for row in _rows(f"{name}-images.jsonl")}


def _rows(filename: str) -> list[dict[str, Any]]:
    file = files("cli_ray.evals.miniature") / "items" / filename
    if not file.is_file():
        raise UserError(
            f"there are no bundled items for {filename.removesuffix('.jsonl')}, as for no own benchmark: leave the "
            "benchmark or --miniature out"
        )
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _drawn(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: _picture(value) if IMAGES.fullmatch(column) else value for column, value in row.items()}


def _picture(cell: Any) -> Any:
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        return [_picture(item) for item in cell]
    return {"bytes": png(cell), "path": None} if isinstance(cell, Mapping) else cell
