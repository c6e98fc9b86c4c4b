"""Where the records of a JSON array or of JSON lines stand, found in flat memory without parsing them."""

import re
from collections.abc import Iterator

from pyarrow import NativeFile

from cli_ray.storage.files import chunks

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},]', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_OPEN, _CLOSE = b"[{", b"]}"


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


def unclosed(file: NativeFile, begin: int, end: int, size: int) -> bool:
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
