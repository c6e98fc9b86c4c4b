"""What people see of the items: where the pictures of each lie, and a thumbnail of those that are shown.

`scan` makes them, an evaluation keeps them in `asked/<benchmark>.parquet`, and the scorer puts them into the table of
samples.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cli_ray.storage.files import write_aside
from cli_ray.storage.folder import Folder

SHOWN = 200
"""Items of a benchmark that are shown, about: each is drawn by its id alone, so they are the same for every model."""
SIDE = 256
"""Longest side of a thumbnail, pixels."""
_ROWS = 1000
_SCHEMA = pa.schema([("sample_id", pa.string()), ("images", pa.list_(pa.string())), ("thumbnail", pa.binary())])


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of an item."""

    sample_id: str
    images: tuple[str, ...] = ()
    """Where each lies, see `cli_ray.evals.items.images.places_of`."""
    thumbnail: bytes | None = None
    """WebP of the first one; None of an item that is not shown, or whose picture cannot be decoded."""


def is_shown(sample_id: str, items: int) -> bool:
    """Whether an item is one of those that are shown.

    Args:
        items: of its benchmark, which decides how many of them that is.
    """
    drawn = hashlib.blake2b(sample_id.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(drawn) * items < SHOWN * 2**64


def thumbnail(image: Image.Image) -> bytes:
    """An RGB image as a small WebP."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=60)
    return file.getvalue()


def write_pictures(folder: Folder, benchmark: str, pictures: Iterable[Pictures]) -> None:
    """Keeps the pictures of a benchmark in an output folder."""
    path = folder.join(_name(benchmark))
    with write_aside(folder.fs, path) as file, pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        rows = [asdict(each) for each in pictures]
        for start in range(0, len(rows), _ROWS):
            writer.write_table(pa.Table.from_pylist(rows[start : start + _ROWS], _SCHEMA))


def read_pictures(folder: Folder, benchmark: str) -> Iterator[Pictures]:
    """The pictures of a benchmark in the order of its split; nothing where an older version asked its items."""
    if not folder.exists(_name(benchmark)):
        return
    with folder.fs.open_input_file(folder.join(_name(benchmark))) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS):
            for row in batch.to_pylist():
                yield Pictures(row["sample_id"], tuple(row["images"]), row["thumbnail"])


def _name(benchmark: str) -> str:
    return f"asked/{benchmark}.parquet"
