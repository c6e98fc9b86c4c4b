"""A sample ready to be collated, and its Arrow row on the way through the object store.

Legend: T tokens, I images, P tiles, C channels, H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cli_ray.data.sample import BadSample

IGNORED = -100
"""Label of a token that is not supervised."""

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("turns", pa.list_(pa.int32())),
        ("pixels", pa.large_binary()),
        ("shapes", pa.list_(pa.int32())),
        ("sizes", pa.list_(pa.int32())),
        ("bad", pa.struct([*((name, pa.string()) for name in ("where", "reason", "detail")), ("samples", pa.int64())])),
    ]
)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A tokenised sample with its resized images."""

    id: str
    source: str
    input_ids: NDArray[np.int32]
    """[T], image tokens expanded."""
    labels: NDArray[np.int32]
    """[T], -100 where nothing is supervised."""
    images: list[NDArray[np.uint8]]
    """[P, C, H, W] of each image, not normalised; P is 1 for models without tiles."""
    sizes: NDArray[np.int32]
    """[I, 2] original height and width of the images, pixels."""
    turns: NDArray[np.int32]
    """[T], how many replies have begun at each token, supervised or not."""


Row = Encoded | BadSample


def to_table(rows: Sequence[Row]) -> pa.Table:
    """One Arrow row per sample or hole. Pixels stay bytes: no type of Arrow fits their shapes better."""
    return pa.Table.from_pylist([_to_dict(row) for row in rows], schema=_SCHEMA)


def from_table(table: pa.Table) -> Iterator[Row]:
    """The rows that `to_table` was given."""
    for batch in table.to_batches():
        columns = {name: batch.column(name) for name in _SCHEMA.names}
        for i in range(batch.num_rows):
            yield _from_row(columns, i)


def _to_dict(row: Row) -> dict[str, object]:
    if isinstance(row, BadSample):
        bad = {"where": row.where, "reason": row.reason, "detail": row.detail, "samples": row.samples}
        return {"id": row.id, "source": row.source, "bad": bad}
    return {
        "id": row.id,
        "source": row.source,
        "input_ids": row.input_ids,
        "labels": row.labels,
        "turns": row.turns,
        "pixels": b"".join(image.tobytes() for image in row.images),
        "shapes": [size for image in row.images for size in image.shape],
        "sizes": row.sizes.ravel(),
    }


def _from_row(columns: dict[str, pa.Array], i: int) -> Row:
    name, source = columns["id"][i].as_py(), columns["source"][i].as_py()
    if (bad := columns["bad"][i].as_py()) is not None:
        return BadSample(name, source, **bad)
    pixels = np.frombuffer(columns["pixels"][i].as_buffer(), np.uint8)
    shapes = _ints(columns["shapes"], i).reshape(-1, 4)
    ends = shapes.prod(1).cumsum()
    images = [flat.reshape(shape) for flat, shape in zip(np.split(pixels, ends[:-1]), shapes, strict=False)]
    return Encoded(
        id=name,
        source=source,
        input_ids=_ints(columns["input_ids"], i),
        labels=_ints(columns["labels"], i),
        images=images,
        sizes=_ints(columns["sizes"], i).reshape(-1, 2),
        turns=_ints(columns["turns"], i),
    )


def _ints(column: pa.Array, i: int) -> NDArray[np.int32]:
    array: NDArray[np.int32] = column[i].values.to_numpy()
    return array
