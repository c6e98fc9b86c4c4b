"""The table of what was injected: a Parquet row for each sample whose record says it, in `gates/<benchmark>.parquet`.

The scorer writes it beside the table of samples; reports read it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cli_ray.evals.records import ReplyRecord
from cli_ray.inference.injected import HeatMap, Injected
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


def read_injections(folder: Folder, benchmark: str, *, shown_only: bool = False) -> Iterator[tuple[str, Injected]]:
    """Sample ids and what was injected for them; nothing where it was not recorded.

    Args:
        folder: output of the evaluation.
        benchmark: its name.
        shown_only: only of samples with a heat map.
    """
    if not folder.exists(_name(benchmark)):
        return
    with folder.fs.open_input_file(folder.join(_name(benchmark))) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS):
            for row in (batch.filter(batch["heat"].is_valid()) if shown_only else batch).to_pylist():
                # Not validated: values of bytes are base64 in JSON alone, and there may be 100,000 rows.
                heat = row["heat"] and HeatMap.model_construct(**row["heat"])
                yield row.pop("sample_id"), Injected.model_construct(**row | {"heat": heat})


@dataclass(frozen=True, slots=True)
class Summary:
    """What was injected on average over the samples of a benchmark."""

    samples: int
    decoder_layers: list[int]
    vision_layers: list[int]
    gate_mean: NDArray[np.float64]
    """[M, N]"""
    gate_max: NDArray[np.float64]
    """[M, N], the largest magnitude of any image."""
    share: NDArray[np.float64]
    """[M]"""


def summary(folder: Folder, benchmark: str) -> Summary | None:
    """The averages over the table of a benchmark; None where nothing was recorded."""
    if not folder.exists(_name(benchmark)):
        return None
    total: Summary | None = None
    with folder.fs.open_input_file(folder.join(_name(benchmark))) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS, columns=SCHEMA.names[1:-1]):
            decoder, vision = batch["decoder_layers"][0].as_py(), batch["vision_layers"][0].as_py()
            means, largest = (
                batch[name].flatten().flatten().to_numpy().reshape(-1, len(decoder), len(vision))
                for name in ("gate_mean", "gate_max")
            )
            share = batch["share"].flatten().to_numpy().reshape(-1, len(decoder))
            own = Summary(len(batch), decoder, vision, means.sum(0, float), largest.max(0), share.sum(0, float))
            total = own if total is None else _joined(total, own)
    if total is None:
        return None
    return replace(total, gate_mean=total.gate_mean / total.samples, share=total.share / total.samples)


def _joined(a: Summary, b: Summary) -> Summary:
    """The sums over both."""
    return replace(
        a,
        samples=a.samples + b.samples,
        gate_mean=a.gate_mean + b.gate_mean,
        gate_max=np.maximum(a.gate_max, b.gate_max),
        share=a.share + b.share,
    )


def _name(benchmark: str) -> str:
    return f"gates/{benchmark}.parquet"
