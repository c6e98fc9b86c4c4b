"""JSON arrays and JSON lines: LLaVA `conversations`, ShareGPT, and `messages` with `images`."""

import codecs
from collections.abc import Callable, Iterator
from typing import Any

from pyarrow import NativeFile

from cli_ray.data.files import Shard, open_file
from cli_ray.data.images import Limits
from cli_ray.data.json_text import MAX_BYTES, parse
from cli_ray.data.readers.json_spans import elements, lines
from cli_ray.data.readers.reader import Span
from cli_ray.data.record import Record
from cli_ray.data.sample import BadDataError

_BOM = b"\xef\xbb\xbf"
_HEAD = 1 << 16


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
            for record in cut(file, start, shard.size):
                unit.append(record)
                if len(unit) == unit_samples:
                    yield Span(unit[0][0], unit[-1][1], len(unit))
                    unit = []
            if unit:
                yield Span(unit[0][0], unit[-1][1], len(unit))

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


def _layout(file: NativeFile) -> tuple[int, Callable[[NativeFile, int, int], Iterator[tuple[int, int]]] | None]:
    """Where the records start and how they are told apart; None when the file is neither."""
    file.seek(0)
    head = file.read(_HEAD)
    start = len(_BOM) if head.startswith(_BOM) else 0
    text = head[start:].lstrip()
    if text.startswith(b"["):
        return len(head) - len(text) + 1, elements
    return start, lines if text.startswith(b"{") or not text else None


def _parse(file: NativeFile, start: int, end: int) -> dict[str, Any]:
    if end - start > MAX_BYTES:  # a file whose brackets do not match looks like one huge record
        problem = f"{end - start:,} bytes, at most {MAX_BYTES:,} are parsed; is a bracket, quote or line end missing?"
        raise BadDataError("broken record", problem)
    file.seek(start)
    record = parse(file.read(end - start), "the record")
    if not isinstance(record, dict):
        raise BadDataError("broken record", f"a JSON {type(record).__name__}, expected an object")
    return record
