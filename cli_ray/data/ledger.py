"""The ledger: which samples each step took, one Parquet file for each checkpoint in `trained/` of the run folder.

Runs with `log.ids` write it, by a callback; `verify` proves from it what a run was trained on.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cli_ray.storage.folder import Folder

if TYPE_CHECKING:
    from cli_ray.data.share import Share

LEDGER = "trained"
"""The folder below the run folder."""
SCHEMA = pa.schema(
    [
        pa.field("step", pa.int32(), nullable=False),  # counted from 1
        pa.field("epoch", pa.int32(), nullable=False),  # counted from 0
        pa.field("epoch_step", pa.int32(), nullable=False),  # counted from 0
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("quarantined", pa.int64(), nullable=False),  # 0 when trained on, else samples lost with it, mostly 1
    ]
)
"""A row for each sample that a step took."""


class DamagedLedgerError(Exception):
    """A file of the ledger that cannot be read."""


def entries(step: int, steps_per_epoch: int, rank: int, share: "Share") -> pa.Table:
    """The rows of one step on one rank.

    Args:
        step: counted from 1.
        steps_per_epoch: of the stream.
        rank: of the worker.
        share: what the step took; quarantined samples come after those trained on.
    """
    ids, sources, bad = share.ids, share.sources, share.bad
    count = len(ids) + len(bad)
    numbers = [np.full(count, value, np.int32) for value in (step, *divmod(step - 1, steps_per_epoch), rank)]
    labels = pa.array([*sources, *(sample.source for sample in bad)], pa.string()).dictionary_encode()
    names = pa.array([*ids, *(sample.id for sample in bad)], pa.string())
    quarantined = pa.array([0] * len(ids) + [sample.samples for sample in bad], pa.int64())
    return pa.Table.from_arrays([*map(pa.array, numbers), labels, names, quarantined], schema=SCHEMA)


def merge(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several steps and ranks as one table, by step and rank."""
    together = pa.concat_tables([SCHEMA.empty_table(), *tables]).unify_dictionaries().combine_chunks()
    return together.sort_by([("step", "ascending"), ("rank", "ascending")])


def write(folder: Folder, step: int, table: pa.Table) -> None:
    """Writes what was trained up to the checkpoint of `step` since the one before."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=["source"], write_page_checksum=True)
    folder.write_bytes(_name(step), sink.getvalue().to_pybytes())


def read(folder: Folder, step: int) -> pa.Table:
    """The rows that `write` was given.

    Raises:
        DamagedLedgerError: the file is cut short, altered or no file of a ledger.
    """
    try:
        with folder.fs.open_input_file(folder.join(_name(step))) as file:
            table = pq.read_table(file, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedLedgerError(f"{folder.uri}/{_name(step)}: {error}") from error
    if table.schema.remove_metadata() != SCHEMA:
        raise DamagedLedgerError(f"{folder.uri}/{_name(step)}: its columns are not those of this version's ledger")
    return table


def steps(folder: Folder) -> list[int]:
    """Steps of the files that are there, ascending."""
    matches = [re.fullmatch(r"step-(\d{8,})\.parquet", name) for name in folder.names(LEDGER)]
    return sorted(int(match[1]) for match in matches if match)


def truncate(folder: Folder, step: int) -> None:
    """Removes the files of later steps than `step`, which are redone."""
    for later in steps(folder):
        if later > step:
            folder.delete_file(_name(later))


def _name(step: int) -> str:
    return f"{LEDGER}/step-{step:08d}.parquet"
