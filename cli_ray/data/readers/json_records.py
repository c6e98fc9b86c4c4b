"""JSON arrays and JSON lines of records: LLaVA `conversations`, ShareGPT, and `messages` with `images`.

Files of any size are read in flat memory: `elements` and `lines` find where records stand without parsing them, for the
index and again for a unit. The evaluations find the items of their JSON lines by `lines` too.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any

from pyarrow import NativeFile

from cli_ray.data.fields import MAX_JSON_BYTES, TEXT_KEYS, parse_json
from cli_ray.data.images import Limits
from cli_ray.data.readers.reader import Record, Span
from cli_ray.data.sample import BadDataError
from cli_ray.storage.files import Shard, chunks, open_file

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_OPEN, _CLOSE = b"[{", b"]}"
_BOM = b"\xef\xbb\xbf"
_HEAD = 1 << 16
_TEXTS = re.compile(rb'"(?:%s)"\s*:' % "|".join(TEXT_KEYS).encode())

Find = Callable[[NativeFile, int, int], Iterator[tuple[int, int]]]
"""Finds the byte ranges of the records between two positions: `elements` or `lines`."""


class JsonRecords:
    """One object per element of an array or per line; images are names of files."""

    suffixes: tuple[str, ...] = (".json", ".jsonl", ".ndjson")
    names_images: bool = True

    def spans(self, shard: Shard, unit_samples: int) -> Iterator[Span]:
        """Byte ranges of neighbouring records."""
        with open_file(shard.path) as file:
            start, find = _layout(file)
            if find is None:
                problem = "neither a JSON array nor JSON objects, one a line"
                is_utf_16 = file.read_at(2, 0) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
                yield Span(0, shard.size, 1, problem + ", but UTF-16; write it as UTF-8" * is_utf_16)
                return
            unit: list[tuple[int, int]] = []
            record = (start, start)
            for record in find(file, start, shard.size):
                if len(unit) == unit_samples:
                    yield Span(unit[0][0], unit[-1][1], len(unit))
                    unit = []
                unit.append(record)
            rest = _rest(file, record, shard.size, find)
            if rest is not None and rest.start < rest.end:
                unit = unit[:-1]
            if unit:
                yield Span(unit[0][0], unit[-1][1], len(unit))
            if rest is not None:
                yield rest

    def records(self, path: str, span: Span, limits: Limits) -> Iterator[Record]:
        """The parsed records of a span."""
        with open_file(path) as file:
            _, find = _layout(file)
            if find is None:
                return
            for start, end in find(file, span.start, span.end):
                content: dict[str, Any] | BadDataError
                try:
                    content = _parse(file, start, end)
                except BadDataError as error:
                    content = error
                key = content.get("id", "") if isinstance(content, dict) else ""
                yield Record(f"bytes {start}-{end}", str(key) if isinstance(key, str | int) else "", content)


def elements(file: NativeFile, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of what stands between the top-level commas.

    Args:
        file: holds a JSON array.
        start: just after its opening bracket, or the start of an element.
        end: of the file, or of an element.

    A range need not be valid JSON; text after the closing bracket is one more range, so that it is noticed.
    """
    begin = start
    for position, is_comma in _separators(file, start, end):
        if is_comma or not _is_blank(file, begin, position):
            yield begin, position
        begin = position + 1
    if not _is_blank(file, begin, end):
        yield begin, end


def lines(file: NativeFile, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of the lines that are not blank."""
    begin, offset, ink = start, start, False
    for chunk in chunks(file, start, end):
        at = 0
        while (newline := chunk.find(b"\n", at)) >= 0:
            if ink or chunk[at:newline].strip():
                yield begin, offset + newline
            at, ink = newline + 1, False
            begin = offset + at
        ink = ink or bool(chunk[at:].strip())
        offset += len(chunk)
    if ink:
        yield begin, end


def _layout(file: NativeFile) -> tuple[int, Find | None]:
    """Where the records start and how they are told apart; None when the file is neither."""
    file.seek(0)
    head = file.read(_HEAD)
    start = len(_BOM) if head.startswith(_BOM) else 0
    text = head[start:].lstrip()
    if text.startswith(b"["):
        return len(head) - len(text) + 1, elements
    return start, lines if text.startswith(b"{") or not text else None


def _rest(file: NativeFile, last: tuple[int, int], size: int, find: Find) -> Span | None:
    """The end of a file that does not end as it should; its last record too, when that is broken.

    Args:
        file: to read.
        last: range of its last record.
        size: of it, bytes.
        find: finds its records.
    """
    begin, end = last
    tail = file.read_at(_HEAD, max(0, size - _HEAD)).rstrip()
    if find is lines:
        is_open = end == size and file.read_at(_HEAD, begin).lstrip().startswith(b"{") and not tail.endswith(b"}")
        return Span(begin, size, 1, "the last line has no end: the file was cut", "cut") if is_open else None
    if not _is_unclosed(file, begin, end, size):
        return None
    start = begin if end == size and _is_broken(file, begin, end) else size
    if tail.endswith(b"]"):
        problem = f"the JSON array has no end: a bracket or a quote is missing from byte {start:,} on"
        return Span(start, size, 1, problem, "stretch")
    return Span(start, size, 1, "the JSON array has no end: the file was cut", "cut")


def _is_broken(file: NativeFile, start: int, end: int) -> bool:
    try:
        _parse(file, start, end)
    except BadDataError:
        return True
    return False


def _parse(file: NativeFile, start: int, end: int) -> dict[str, Any]:
    if end - start > MAX_JSON_BYTES:  # a file whose brackets do not match looks like one huge record
        problem = (
            f"{end - start:,} bytes, at most {MAX_JSON_BYTES:,} are parsed; is a bracket, quote or line end missing?"
        )
        raise BadDataError("broken record", problem, _swallowed(file, start, end))
    file.seek(start)
    try:
        record = parse_json(file.read(end - start), "the record")
    except BadDataError as error:
        raise BadDataError(error.reason, error.detail, _swallowed(file, start, end)) from error
    if not isinstance(record, dict):
        problem = f"a JSON {type(record).__name__}, expected an object"
        raise BadDataError("broken record", problem, _swallowed(file, start, end))
    return record


def _swallowed(file: NativeFile, start: int, end: int) -> int:
    """Samples that a broken record holds, itself included: where brackets do not match it runs into others."""
    return max(1, sum(len(_TEXTS.findall(chunk)) for chunk in chunks(file, start, end)))


def _is_unclosed(file: NativeFile, begin: int, end: int, size: int) -> bool:
    """Whether the bracket is missing that closes an array.

    Args:
        file: holds a JSON array.
        begin: of its last element, or just after its opening bracket.
        end: of that element, where its separator stands, or the size.
        size: of the file.
    """
    if begin < end == size:
        return file.read_at(1, begin - 1) in b",["
    rest = b"".join(chunks(file, end, min(size, end + (1 << 20))))
    return not rest.lstrip(b", \t\r\n")


def _separators(file: NativeFile, start: int, end: int) -> Iterator[tuple[int, bool]]:
    """Positions of top-level commas (True) and of brackets that close the array (False)."""
    depth, in_string, carry, offset = 0, False, b"", start
    for chunk in chunks(file, start, end):
        buffer, base, at = carry + chunk, offset - len(carry), 0
        offset, carry = offset + len(chunk), b""
        if in_string:
            rest = _REST_OF_STRING.match(buffer)
            if rest is None:
                carry = _open_escape(buffer)
                continue
            in_string, at = False, rest.end()
        for match in _TOKEN.finditer(buffer, at):
            token = match[0]
            if token == b'"':
                in_string, carry = True, _open_escape(buffer[match.end() :])
                break
            if token in _OPEN:
                depth += 1
            elif token in _CLOSE and depth:
                depth -= 1
            elif depth == 0 and len(token) == 1:
                yield base + match.start(), token == b","


def _open_escape(text: bytes) -> bytes:
    """The backslash at the end of a piece of a string that escapes the first character of the next piece."""
    return b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""


def _is_blank(file: NativeFile, start: int, end: int) -> bool:
    return not any(chunk.strip() for chunk in chunks(file, start, end))
