"""The encoded images of a document: bytes in its row, files beside it, or a table that several items share.

Asked when items are scanned, for hashes and sizes, and when they are generated, to be decoded.
"""

import base64
import posixpath
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cli_ray.config import DataConfig
from cli_ray.data.images import Limits, join_inside, read_small
from cli_ray.data.sample import BadDataError
from cli_ray.evals import miniature
from cli_ray.evals.benchmark import Doc
from cli_ray.evals.items import tables
from cli_ray.evals.items.cells import listed
from cli_ray.evals.items.location import MINIATURE, Location, Part, split_query

SHARED_COLUMNS = ("id", "image")
"""Of a table of images that items share."""
_LONGEST_ID = 64
"""Characters of a text that may stand for another row, as in VLMEvalKit."""
_LONGEST_PATH = 4096
"""Characters, of Linux."""
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""What encoded images begin with."""
_SHOWN = 200
"""Characters of a name that are shown."""
_MAX_BYTES = int(DataConfig.model_fields["max_image_MiB"].default * 2**20)
LIMITS = Limits(DataConfig.model_fields["max_image_pixels"].default, _MAX_BYTES)
"""What an image may cost: the defaults of training."""


def images_of(location: Location, doc: Doc) -> list[bytes]:
    """The encoded images of a document, in the order in which it shows them.

    Raises:
        BadDataError: one is missing, cannot be read or lies outside the folder.
    """
    benchmark = location.benchmark
    if benchmark.images_from:
        key = str(doc[benchmark.image_key])
        return [_image(location, f"image {key}", _shared_image(location, key))]
    images = [_image(location, name, cell) for name, cell, _ in _cells(location, doc)]
    if not images:  # asked blind, it would be scored as if it had been seen
        raise BadDataError("missing image", f"nothing in {', '.join(benchmark.image_columns)}")
    return images


def places_of(location: Location, part: Part, row: int, doc: Doc) -> tuple[str, ...]:
    """Where each image of a document lies: a file, or `TABLE#row=17&column=image` with the row counted within the
    table, or `TABLE#id=n54&column=image` of a table that items share.

    Args:
        row: number of the document in the split.
    """
    benchmark = location.benchmark
    if benchmark.images_from:
        key = str(doc[benchmark.image_key])
        shared = None if location.kind == MINIATURE else _index_of_images(location.images).get(key)
        return (f"{shared.path if shared else MINIATURE}#id={key}&column={SHARED_COLUMNS[1]}",)
    places = []
    for name, cell, other in _cells(location, doc):
        table, number = other or (part, row)
        within = table.first_in_file + number - table.first
        places.append(_file_of(location, cell) or f"{table.path}#row={within}&column={name}")
    return tuple(places)


def _cells(location: Location, doc: Doc) -> list[tuple[str, Any, tuple[Part, int] | None]]:
    """The cells with images of a document, their columns, and the part and number of the row that holds them, where
    that is another one."""
    benchmark = location.benchmark
    cells: list[tuple[str, Any, tuple[Part, int] | None]] = []
    for name in benchmark.shown(doc) if benchmark.shown else benchmark.image_columns:
        for cell in _several(doc.get(name)):
            other = _referred(location, cell)
            cells += [(name, each, other) for each in (_cells_at(name, *other) if other else [cell])]
    return cells


def _several(value: Any) -> list[Any]:
    """The images of a cell, which may hold none, one, or a list of them."""
    cells = listed(value)
    return [cell for cell in ([value] if cells is None else cells) if cell is not None and cell != ""]


def _referred(location: Location, cell: Any) -> tuple[Part, int] | None:
    """The row whose images a cell stands for, by its id; None where it is no id, or the name of a file."""
    column = location.benchmark.id_column
    if not column or not isinstance(cell, str) or len(cell) > _LONGEST_ID or posixpath.splitext(cell)[1]:
        return None
    return None if _is_base64(cell) else _rows_by_id(location.images, column).get(cell)


def _cells_at(name: str, part: Part, row: int) -> list[Any]:
    return [cell for _, doc in tables.rows(part, (name,), {row}) for cell in _several(doc.get(name))]


def _file_of(location: Location, cell: Any) -> str:
    """The file that a cell names; empty where it holds the image itself."""
    if isinstance(cell, Mapping):
        cell = None if cell.get("bytes") is not None else cell.get("path")
    if not isinstance(cell, str) or location.kind != "folder" or _is_base64(cell):
        return ""
    folder, query = split_query(location.where)
    return f"{folder}/{cell}{query}"


def _image(location: Location, name: str, cell: Any) -> bytes:
    """The bytes of one cell: of a struct `{bytes, path}`, plain or in base64, or a file in the folder."""
    path = cell
    if isinstance(cell, Mapping):
        cell, path = cell.get("bytes"), cell.get("path")
        if isinstance(cell, str):
            return _from_base64(name, cell)
    if isinstance(cell, bytes):
        return cell
    if isinstance(path, str) and _is_base64(path):
        return _from_base64(name, path)
    if not isinstance(path, str) or not path or location.kind != "folder":
        raise BadDataError("missing image", f"{name}: no bytes and no file name")
    try:
        folder, query = split_query(location.where)
        return read_small(join_inside(folder, path) + query, _MAX_BYTES)
    except OSError as error:
        raise BadDataError("missing image", f"{name}: {path[:_SHOWN]!r} is not in {location.where}") from error


def _is_base64(text: str) -> bool:
    """Whether a text begins like an image in base64, or is too long for the name of a file."""
    if text.startswith("data:") or len(text) > _LONGEST_PATH:
        return True
    try:
        begin = base64.b64decode(text[:16], validate=True)
    except ValueError:
        return False
    return begin.startswith(_SIGNATURES) or begin[4:8] in (b"ftyp", b"jP  ")


def _from_base64(name: str, text: str) -> bytes:
    """The bytes of a base64 text, which may be a data URI and have line breaks. No message holds the text."""
    bare = "".join(text.rpartition(",")[2].split() if text.startswith("data:") else text.split())
    try:
        return base64.b64decode(bare, validate=True)
    except ValueError as error:
        raise BadDataError(
            "broken image", f"{name}: {len(text):,} characters that are neither base64 nor a file name: {error}"
        ) from error


def _shared_image(location: Location, key: str) -> Any:
    """The cell of an image that several items share."""
    if location.kind == MINIATURE:
        images = miniature.images(location.benchmark.name)
        if key not in images:
            raise BadDataError("missing image", f"no image {key!r}")
        return images[key]
    part = _index_of_images(location.images).get(key)
    if part is None:
        raise BadDataError("missing image", f"no image {key!r} in {location.images[0].path if location.images else ''}")
    return _cells_of(part)[key]


@lru_cache(maxsize=2)
def _rows_by_id(parts: tuple[Part, ...], column: str) -> dict[str, tuple[Part, int]]:
    """The part and the number of each row; only ids are read."""
    return {str(row.get(column)): (part, number) for part in parts for number, row in tables.rows(part, (column,))}


@lru_cache(maxsize=2)
def _index_of_images(parts: tuple[Part, ...]) -> dict[str, Part]:
    """The part of each image; only names are read."""
    return {str(row["id"]): part for part in parts for _, row in tables.rows(part, ("id",))}


@lru_cache(maxsize=4)
def _cells_of(part: Part) -> dict[str, Any]:
    """The images of a part by name; GQA's 398 are four parts of some 16 MB."""
    return {str(row["id"]): row["image"] for _, row in tables.rows(part, SHARED_COLUMNS)}
