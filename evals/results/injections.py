"""The table of what was injected: a Parquet row for each sample whose record says it, in `gates/<benchmark>.parquet`.

The scorer writes it beside the table of samples; reports read it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from cli_ray.evals.records import HeatMap, Injected, ReplyRecord
from cli_ray.storage.files import write_aside
from cli_ray.storage.folder import Folder

_ROWS = 1_000
_FLOATS = pa.list_(pa.float32())
_HEAT = [("grid", pa.list_(pa.int32())), ("area", _FLOATS), ("top", pa.float32()), ("values", pa.binary())]
SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("decoder_layers", pa.list_(pa.int32())),
        ("vision_layers", pa.list_(pa.int32())),
        ("gate_mean", pa.list_(_FLOATS)),
        ("gate_max", pa.list_(_FLOATS)),
        ("share", _FLOATS),
        ("heat", pa.struct(_HEAT)),
    ]
)
"""A sample and the fields of `Injected`."""


def write_injections(folder: Folder, benchmark: str, records: Iterable[ReplyRecord]) -> int:
    """Writes the table of a benchmark, of the records that say what was injected; returns how many these are.

    Args:
        folder: output of the evaluation.
    """
    written = 0
    rows = ({"sample_id": record.sample_id} | record.injected.model_dump() for record in records if record.injected)
    path = folder.join(_name(benchmark))
    with write_aside(folder.fs, path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        while group := list(islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
            written += len(group)
    return written


def read_injections(folder: Folder, benchmark: str) -> Iterator[tuple[str, Injected]]:
    """Sample ids and what was injected for them; nothing where it was not recorded."""
    if not folder.exists(_name(benchmark)):
        return
    with folder.fs.open_input_file(folder.join(_name(benchmark))) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS):
            for row in batch.to_pylist():
                # Not validated: values of bytes are base64 in JSON alone, and there may be 100,000 rows.
                heat = row["heat"] and HeatMap.model_construct(**row["heat"])
                yield row.pop("sample_id"), Injected.model_construct(**row | {"heat": heat})


def _name(benchmark: str) -> str:
    return f"gates/{benchmark}.parquet"
