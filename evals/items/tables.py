"""Rows of Parquet, JSONL, CSV and TSV files and of folders of pictures, a part at a time and in flat memory. `sources`
and `images` read through it."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cli_ray.data.readers.json_records import lines
from cli_ray.errors import UserError
from cli_ray.evals.items import class_folders, hub
from cli_ray.evals.items.delimited import DELIMITERS, Delimited, is_delimited
from cli_ray.evals.items.location import Part, split_query
from cli_ray.storage.files import open_file

SUFFIXES = (*hub.SUFFIXES, *DELIMITERS)
"""Of files that are read."""
PART_ROWS = 128
"""Rows of a part at most."""
_BATCH_ROWS = 16
"""Rows with images that are in memory at once."""
_BUFFER_BYTES = 1 << 20
"""Of a column that are read ahead. Without it, or with Arrow's own `pre_buffer`, whole columns of a row group are read;
so memory holds a page, which is what the writer of the file made it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file: its columns and parts."""

    columns: tuple[str, ...]
    parts: tuple[Part, ...]


def survey(path: str, first: int) -> Table:
    """The columns and parts of a file. Of Parquet only the footer is read, of JSONL, CSV and TSV where records end.

    Args:
        path: of the file; a folder of pictures ends in a slash.
        first: number of the file's first row in the split.

    Raises:
        UserError: it cannot be read.
    """
    try:
        if _is_folder(path):
            return Table(class_folders.COLUMNS, tuple(class_folders.survey(path, first, PART_ROWS)))
        if is_delimited(path):
            return _survey_delimited(path, first)
        return _survey_jsonl(path, first) if _is_jsonl(path) else _survey_parquet(path, first)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # of Arrow, of a filesystem, or of the HTTP library of the hub
        raise UserError(f"{path}: cannot be read: {error}; replace the file") from error


def rows(
    part: Part, columns: Sequence[str], wanted: Collection[int] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a part with their numbers in the split; without columns that the file, or a line of it, lacks.

    Args:
        wanted: numbers of the rows to give; all without.

    Raises:
        UserError: the file cannot be read, a line is no JSON object, or a record has not as many cells as the head.
    """
    if wanted is not None and not any(part.first <= number < part.first + part.rows for number in wanted):
        return
    try:
        yield from _reader(part.path)(part, columns, wanted)
    except UserError as error:
        raise UserError(f"{part.path}: {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{part.path}: rows from {part.start} on cannot be read: {error}; replace the file") from error


def _survey_parquet(path: str, first: int) -> Table:
    with _open(path, footer=True) as file, pq.ParquetFile(file) as table:
        groups = [table.metadata.row_group(i).num_rows for i in range(table.metadata.num_row_groups)]
        columns = tuple(table.schema_arrow.names)
    parts, above = [], 0
    for group, size in enumerate(groups):
        for start in range(0, size, PART_ROWS):
            within = above + start
            rows = min(PART_ROWS, size - start)
            parts.append(Part(path, group, start, rows, first + within, first_in_file=within))
        above += size
    return Table(columns, tuple(parts))


def _survey_jsonl(path: str, first: int) -> Table:
    columns: tuple[str, ...] = ()
    with _open(path) as file:
        if head := next(lines(file, 0, file.size()), None):
            columns = tuple(_object(0, file.read_at(head[1] - head[0], head[0])))
        return Table(columns, _parts(path, first, lines(file, 0, file.size())))


def _survey_delimited(path: str, first: int) -> Table:
    with _open(path) as file:
        table = Delimited(path, file)
        return Table(table.columns, _parts(path, first, table.records(table.begin)))


def _parts(path: str, first: int, records: Iterator[tuple[int, int]]) -> tuple[Part, ...]:
    """The parts of a file of records, of which byte ranges are given."""
    parts: list[Part] = []
    row = offset = 0
    for row, (begin, _) in enumerate(records, start=1):
        if row % PART_ROWS == 1:
            offset = begin
        if row % PART_ROWS == 0:
            begins = row - PART_ROWS
            parts.append(Part(path, 0, begins, PART_ROWS, first + begins, offset, begins))
    rest = row % PART_ROWS
    if rest:
        parts.append(Part(path, 0, row - rest, rest, first + row - rest, offset, row - rest))
    return tuple(parts)


def _rows_of_parquet(
    part: Part, columns: Sequence[str], wanted: Collection[int] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    with (
        _open(part.path) as file,
        pq.ParquetFile(
            file, metadata=_footer(part.path, file.size()), buffer_size=_BUFFER_BYTES, pre_buffer=False
        ) as table,
    ):
        there = [name for name in columns if name in table.schema_arrow.names]
        row = 0
        for batch in table.iter_batches(_BATCH_ROWS, row_groups=[part.group], columns=there):
            shift = part.first + row - part.start
            inside = range(max(part.start - row, 0), min(part.start + part.rows - row, batch.num_rows))
            chosen = [i for i in inside if wanted is None or shift + i in wanted]
            if chosen:
                batch.validate(full=True)
                yield from ((shift + i, batch.slice(i, 1).to_pylist()[0]) for i in chosen)
            row += batch.num_rows
            if row >= part.start + part.rows:
                return


@lru_cache(maxsize=2)
def _footer(path: str, size: int) -> pq.FileMetaData:
    """The footer of a file, which takes milliseconds to read where there are many row groups: as long as a part does.

    Args:
        size: bytes; a file that was replaced rarely has as many.
    """
    with _open(path) as file:
        return pq.read_metadata(file)


def _rows_of_jsonl(
    part: Part, columns: Sequence[str], wanted: Collection[int] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open(part.path) as file:
        spans = lines(file, part.offset, file.size())
        for i, (begin, end) in zip(range(part.rows), spans, strict=False):
            if wanted is None or part.first + i in wanted:
                values = _object(part.start + i, file.read_at(end - begin, begin))
                yield part.first + i, {name: values[name] for name in columns if name in values}


def _rows_of_delimited(
    part: Part, columns: Sequence[str], wanted: Collection[int] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open(part.path) as file:
        table = Delimited(part.path, file)
        count = part.rows if wanted is None else min(part.rows, max(wanted) - part.first + 1)
        for i, (begin, end) in zip(range(count), table.records(part.offset), strict=False):
            if wanted is None or part.first + i in wanted:
                values = table.values(begin, end, part.start + i)
                yield part.first + i, {name: values[name] for name in columns if name in values}


def _reader(path: str) -> Callable[..., Iterator[tuple[int, dict[str, Any]]]]:
    if _is_folder(path):
        return class_folders.rows
    if is_delimited(path):
        return _rows_of_delimited
    return _rows_of_jsonl if _is_jsonl(path) else _rows_of_parquet


def _is_folder(path: str) -> bool:
    return split_query(path)[0].endswith("/")


def _is_jsonl(path: str) -> bool:
    return split_query(path)[0].lower().endswith(".jsonl")


def _object(row: int, line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"record {row} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"record {row} is no JSON object")
    return values


def _open(path: str, footer: bool = False) -> Any:
    """Opens a file; of one on the hub that is wanted for its footer alone, no more than that is fetched."""
    if path.startswith(hub.SCHEME):
        return hub.open_remote(path) if footer else open_file(hub.local(path))
    return open_file(path)
