"""Tables of CSV and TSV: where their records end, and their cells, as texts, in flat memory.

`cli_ray.evals.items.tables` reads such files through it. A file may be larger than memory and a cell megabytes long,
as in tables that hold pictures in base64. The rules are those of RFC 4180 and of Python's `csv`: a quote opens a field
at its start only, and a doubled quote stands for one.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from typing import Any

from cli_ray.errors import UserError
from cli_ray.evals.items.location import split_query
from cli_ray.storage.files import chunks

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MAX_RECORD_BYTES = 256 << 20
"""A longer record is one whose quote nothing closes."""
_BOM = codecs.BOM_UTF8
_ENDS = re.compile(rb'["\n]')

csv.field_size_limit(MAX_RECORD_BYTES)  # of the process, 128 KiB without


class Delimited:
    """An open file of records.

    Args:
        path: tells the delimiter by its ending.
        file: to read.

    Raises:
        UserError: at construction, when the first record is no head with a name for each column.
    """

    def __init__(self, path: str, file: Any) -> None:
        self._file, self._size = file, int(file.size())
        self._delimiter = next(mark for end, mark in DELIMITERS.items() if is_delimited(path, end))
        start = file.read_at(len(_BOM), 0)
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise UserError("is UTF-16: save it as UTF-8")
        begin, end = next(self.records(len(_BOM) if start == _BOM else 0), (0, 0))
        self.begin = end
        """Byte behind the head."""
        self.columns = tuple(self._cells(begin, end, "the head"))
        if twice := sorted({name for name in self.columns if self.columns.count(name) > 1}):
            raise UserError(f"has the column {twice[0]!r} more than once: rename one in its first line")

    def records(self, start: int) -> Iterator[tuple[int, int]]:
        """Byte ranges of the records from the one that starts at a byte on, without blank lines."""
        begin = start
        for end in self._ends(start):
            if end - begin > 2 or self._file.read_at(end - begin, begin).strip(b"\r\n"):
                yield begin, end
            begin = end

    def values(self, begin: int, end: int, number: int) -> dict[str, str]:
        """The cells of a record by column.

        Args:
            begin: its first byte.
            end: one past its last.
            number: of the record in the file, for messages.

        Raises:
            UserError: it has not as many cells as the head, or is no text.
        """
        cells = self._cells(begin, end, f"record {number}")
        if len(cells) != len(self.columns):
            raise UserError(
                f"record {number} (the first is 0) has {len(cells)} cells, but the first line names "
                f"{len(self.columns)} columns: quote cells that hold a delimiter, a quote or a line end"
            )
        return dict(zip(self.columns, cells, strict=True))

    def _ends(self, start: int) -> Iterator[int]:
        """One past the last byte of each record."""
        opens = {ord(self._delimiter), *b"\r\n"}
        quoted, offset, closed, before, begin = False, start, -1, ord("\n"), start
        for chunk in chunks(self._file, start, self._size):
            if offset + len(chunk) - begin > MAX_RECORD_BYTES:
                raise UserError(
                    f"the record at byte {begin:,} has no end within {MAX_RECORD_BYTES >> 20} MiB: close its quote"
                )
            at = 0
            while True:
                if quoted:
                    at = chunk.find(b'"', at) + 1
                    if not at:
                        break
                    quoted, closed = False, offset + at
                    continue
                match = _ENDS.search(chunk, at)
                if match is None:
                    break
                at = match.end()
                if match[0] == b"\n":
                    begin = offset + at
                    yield begin
                else:  # behind a quote that has just closed it is the second of a doubled one
                    last = chunk[at - 2] if at > 1 else before
                    quoted = offset + at - 1 == closed or last in opens
            offset, before = offset + len(chunk), chunk[-1]
        if begin < self._size:
            yield self._size

    def _cells(self, begin: int, end: int, what: str) -> list[str]:
        encoded = self._file.read_at(end - begin, begin)
        try:
            text = encoded.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{what} is no UTF-8 text (byte {begin + error.start:,}): save the file as UTF-8") from None
        if "\0" in text:
            raise UserError(f"{what} holds a zero byte, so that this is no text: give a table")
        try:
            [cells] = csv.reader([text], delimiter=self._delimiter)
        except (csv.Error, ValueError):
            raise UserError(f"{what} cannot be parsed: write its quotes and line ends as RFC 4180 says") from None
        return cells


def is_delimited(path: str, *ends: str) -> bool:
    """Whether a path is that of a CSV or TSV file, or of one with these endings."""
    return split_query(path)[0].lower().endswith(ends or tuple(DELIMITERS))
