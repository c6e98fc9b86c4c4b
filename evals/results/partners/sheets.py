"""Tables of text from .xlsx, .tsv, .csv and .json files that strangers wrote, for `vlmevalkit`.

Bounded: a file that is larger than records are, or unpacks to more, is refused before it is parsed.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
from pyarrow import csv

from cli_ray.evals.results.partners.records import RecordsError
from cli_ray.storage.files import open_file

SUFFIXES = ("xlsx", "tsv", "csv", "json")
CELL_CHARS = 32_767
"""What a cell of .xlsx can hold: writers cut longer texts, or leave them out."""
FILE_BYTES = 1 << 29
"""Of a file, and of what an .xlsx unpacks to."""
_ROWS = 1_000_000
_COLUMNS = 1_000


def rows(path: str, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a table by column; cells as text, empty ones as the empty text.

    Args:
        path: local or a pyarrow URI; its ending says the format.
        needed: columns.

    Raises:
        RecordsError: the file is no such table, is too large, or lacks a column or any row.
    """
    content = _content(path)
    suffix = path.rpartition(".")[2]
    table = {"xlsx": _xlsx, "tsv": _tsv, "csv": _csv, "json": _json}[suffix]
    found = table(path, content)
    first = next(found, None)
    if first is None:
        raise RecordsError(f"{path}: has no rows: give the file of predictions")
    for row in chain([first], found):
        if lacking := [name for name in needed if name not in row]:
            raise RecordsError(
                f"{path}: lacks the column {', '.join(lacking)}; it has {', '.join(list(row)[:30])}: give the file of "
                "predictions, not one of scores"
            )
        yield row


def _content(path: str) -> bytes:
    try:
        with open_file(path) as file:
            if file.size() > FILE_BYTES:
                raise RecordsError(
                    f"{path}: {file.size():,} bytes are more than the {FILE_BYTES:,} that are read: split it"
                )
            return bytes(file.read())
    except OSError as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def _xlsx(path: str, content: bytes) -> Iterator[dict[str, str]]:
    """The first sheet. Formulas are read as their text, for older versions wrote replies that begin with `=` so."""
    from openpyxl import load_workbook
    from openpyxl.utils.escape import unescape

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > FILE_BYTES:
            raise RecordsError(
                f"{path}: unpacks to {unpacked:,} bytes, more than the {FILE_BYTES:,} that are read: split it"
            )
        book = load_workbook(io.BytesIO(content), read_only=True)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # what the file says of its size need not be true
        first = next(sheet.iter_rows(values_only=True, max_row=1), ())
        head = [_text(cell) for cell in first[:_COLUMNS]]
        for line in sheet.iter_rows(values_only=True, min_row=2, max_row=_ROWS, max_col=len(head)):
            cells = {name: unescape(_text(cell)) for name, cell in zip(head, line, strict=True) if name}
            if any(cells.values()):
                yield cells
    except RecordsError:
        raise
    except Exception as error:  # whatever openpyxl raises on a file that is none, or damaged
        raise RecordsError(f"{path}: cannot be read as .xlsx: {type(error).__name__}: {error}") from error


def _tsv(path: str, content: bytes) -> Iterator[dict[str, str]]:
    return _delimited(path, content, "\t")


def _csv(path: str, content: bytes) -> Iterator[dict[str, str]]:
    return _delimited(path, content, ",")


def _delimited(path: str, content: bytes, delimiter: str) -> Iterator[dict[str, str]]:
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    reading = csv.ReadOptions(block_size=len(content) + 1, use_threads=False)
    try:
        names = csv.read_csv(io.BytesIO(content), reading, parsing).column_names
        as_text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        table = csv.read_csv(io.BytesIO(content), reading, parsing, as_text)
    except (pa.ArrowException, ValueError) as error:
        raise RecordsError(f"{path}: cannot be read as UTF-8 text in columns: {error}") from error
    for batch in table.to_batches(max_chunksize=1_000):
        yield from batch.to_pylist()


def _json(path: str, content: bytes) -> Iterator[dict[str, str]]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordsError(f"{path}: is no JSON, so the file was cut or edited: {error}") from error
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise RecordsError(f"{path}: is no list of JSON objects: give the file of predictions")
    for value in values:
        yield {str(name): _text(cell) for name, cell in value.items()}


def _text(cell: Any) -> str:
    """A cell as its column of text had it; NaN is how tables in JSON write an empty one."""
    if cell is None or cell != cell:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
