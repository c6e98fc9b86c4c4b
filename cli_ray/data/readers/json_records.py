"""JSON arrays and JSON lines: LLaVA `conversations`, ShareGPT, and `messages` with `images`."""

import codecs
import re
from collections.abc import Callable, Iterator
from typing import Any

from pyarrow import NativeFile

from cli_ray.data.images import Limits
from cli_ray.data.json_text import MAX_BYTES, parse
from cli_ray.data.readers.json_spans import elements, lines, unclosed
from cli_ray.data.readers.reader import Span
from cli_ray.data.readers.record import TEXT_KEYS, Record
from cli_ray.data.sample import BadDataError
from cli_ray.storage.files import Shard, chunks, open_file

_BOM = b"\xef\xbb\xbf"
_HEAD = 1 << 16
_TEXTS = re.compile(rb'"(?:%s)"\s*:' % "|".join(TEXT_KEYS).encode())


Cut = Callable[[NativeFile, int, int], Iterator[tuple[int, int]]]
"""Tells the records between two positions apart."""


class JsonRecords:
    """One object per element of an array or per line; images are names of files."""

    suffixes: tuple[str, ...] = (".json", ".jsonl", ".ndjson")
    names_images: bool = True

    def spans(self, shard: Shard, unit_samples: int) -> Iterator[Span]:
        """Byte ranges of neighbouring records."""
        with open_file(shard.path) as file:
            start, cut = _layout(file)
            if cut is None:
                problem = "neither a JSON array nor JSON objects, one a line"
                is_utf_16 = file.read_at(2, 0) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
                yield Span(0, shard.size, 1, problem + ", but UTF-16; write it as UTF-8" * is_utf_16)
                return
            unit: list[tuple[int, int]] = []
            record = (start, start)
            for record in cut(file, start, shard.size):
                if len(unit) == unit_samples:
                    yield Span(unit[0][0], unit[-1][1], len(unit))
                    unit = []
                unit.append(record)
            rest = _rest(file, record, shard.size, cut)
            if rest is not None and rest.start < rest.end:
                unit = unit[:-1]
            if unit:
                yield Span(unit[0][0], unit[-1][1], len(unit))
            if rest is not None:
                yield rest

    def records(self, path: str, span: Span, limits: Limits) -> Iterator[Record]:
        """The parsed records of a span."""
        with open_file(path) as file:
            _, cut = _layout(file)
            if cut is None:
                return
            for start, end in cut(file, span.start, span.end):
                content: dict[str, Any] | BadDataError
                try:
                    content = _parse(file, start, end)
                except BadDataError as error:
                    content = error
                key = content.get("id", "") if isinstance(content, dict) else ""
                yield Record(f"bytes {start}-{end}", str(key) if isinstance(key, str | int) else "", content)


def _layout(file: NativeFile) -> tuple[int, Cut | None]:
    """Where the records start and how they are told apart; None when the file is neither."""
    file.seek(0)
    head = file.read(_HEAD)
    start = len(_BOM) if head.startswith(_BOM) else 0
    text = head[start:].lstrip()
    if text.startswith(b"["):
        return len(head) - len(text) + 1, elements
    return start, lines if text.startswith(b"{") or not text else None


def _rest(file: NativeFile, last: tuple[int, int], size: int, cut: Cut) -> Span | None:
    """The end of a file that does not end as it should; its last record too, when that is broken.

    Args:
        file: to read.
        last: range of its last record.
        size: of it, bytes.
        cut: tells its records apart.
    """
    begin, end = last
    tail = file.read_at(_HEAD, max(0, size - _HEAD)).rstrip()
    if cut is lines:
        is_open = end == size and file.read_at(_HEAD, begin).lstrip().startswith(b"{") and not tail.endswith(b"}")
        return Span(begin, size, 1, "the last line has no end: the file was cut", "cut") if is_open else None
    if not unclosed(file, begin, end, size):
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
    if end - start > MAX_BYTES:  # a file whose brackets do not match looks like one huge record
        problem = f"{end - start:,} bytes, at most {MAX_BYTES:,} are parsed; is a bracket, quote or line end missing?"
        raise BadDataError("broken record", problem, _swallowed(file, start, end))
    file.seek(start)
    try:
        record = parse(file.read(end - start), "the record")
    except BadDataError as error:
        raise BadDataError(error.reason, error.detail, _swallowed(file, start, end)) from error
    if not isinstance(record, dict):
        problem = f"a JSON {type(record).__name__}, expected an object"
        raise BadDataError("broken record", problem, _swallowed(file, start, end))
    return record


def _swallowed(file: NativeFile, start: int, end: int) -> int:
    """Samples that a broken record holds, itself included: where brackets do not match it runs into others."""
    return max(1, sum(len(_TEXTS.findall(chunk)) for chunk in chunks(file, start, end)))
