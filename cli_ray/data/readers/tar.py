"""The members of a tar file, and the places where it is broken.

The webdataset reader walks shards with it, as a whole for the index and from member to member of a unit afterwards.
`tarfile` stops in silence at the first damaged header and keeps every member in memory; this walk does neither.

`tarfile.TarInfo` parses header blocks. Extended headers (POSIX.1-2001 pax, GNU long names) are read here. `tarfile`
(Python 3.11) gives to all later members what a global header says, so that a unit that is read alone would differ. It
reads as many bytes as an extended header claims to have, ends with RecursionError after a thousand of them in a row,
and passes over a damaged one, so that its member gets another name.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from pyarrow import NativeFile

from cli_ray.storage.files import ReadAhead, chunks

BLOCK = tarfile.BLOCKSIZE
_MAGIC, _MAGIC_OFFSET = b"ustar", 257
_CUT = "cut off"
_MAX_NAME = 1 << 16
_MAX_DIGITS = 20
_FIRST = 8 * BLOCK
"""Bytes read at first to get past a gap; an archive may have one after every member."""
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSIONS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *_PAX)


@dataclass(frozen=True, slots=True)
class Member:
    """A member, or a damaged stretch when `name` is empty."""

    name: str
    start: int
    """First byte of its headers."""
    data: int
    """First byte of its content."""
    size: int
    """Bytes of its content."""
    end: int
    """First byte after it and its padding."""
    problem: str = ""
    """Why it cannot be read; empty when it can."""

    @property
    def key(self) -> str:
        """Of its sample: the name up to the first dot of its last step; empty if it starts with a dot or has none."""
        match = _NAME.fullmatch(self.name)
        return match[1] if match else ""

    @property
    def suffix(self) -> str:
        """What follows that dot, lower case, such as `jpg`, `0.jpg` or `seg.png`."""
        match = _NAME.fullmatch(self.name)
        return match[2].lower() if match else ""

    @property
    def ending(self) -> str:
        """What follows the last dot, lower case."""
        return self.suffix.rpartition(".")[2]

    @property
    def may_swallow(self) -> bool:
        """Whether others may lie in it: behind damaged headers, or where its size runs past the end of the file."""
        return not self.name or self.problem.startswith(_CUT)


@dataclass
class _Extension:
    """What the extended headers before a member said about it."""

    start: int | None = None
    name: str = ""
    size: int | None = None
    sparse: bool = False


def members(file: NativeFile | ReadAhead, start: int, end: int) -> Iterator[Member]:
    """Files between two positions, links and devices (as problems) included, folders left out.

    Zero blocks are skipped, so concatenated archives are read to the end. After a damaged header the
    walk goes on at the next sound one.
    """
    position, size = start, file.size()
    extension = _Extension()
    while position < end:
        header = _header(file, position)
        if header is None:
            position = _after_zeros(file, position, end)
            continue
        if isinstance(header, str):
            after = _next_header(file, position, end)
            yield Member("", extension.start or position, position, 0, after, header)
            position, extension = after, _Extension()
            continue
        data = position + BLOCK
        if header.type in _EXTENSIONS:
            extension.start = position if extension.start is None else extension.start
            problem = _read_extension(file, header, data, extension)
            after = data + _padded(header.size)
            if problem or after > size:
                problem = problem or "cut off within an extended header"
                yield Member("", extension.start, data, 0, min(after, end), problem)
                extension = _Extension()
            position = after
            continue
        member = _member(header, position, data, size, extension)
        if not header.isdir():
            yield member
        position, extension = member.end, _Extension()


def _member(header: tarfile.TarInfo, position: int, data: int, size: int, extension: _Extension) -> Member:
    length = header.size if extension.size is None else extension.size
    end = data + (_padded(length) if header.isreg() or header.type not in tarfile.SUPPORTED_TYPES else 0)
    problem = ""
    if extension.sparse or header.type == tarfile.GNUTYPE_SPARSE:
        problem = "a sparse file"
    elif not header.isreg():
        problem = f"not a file but of tar type {header.type!r}"
    elif data + length > size:
        problem = f"{_CUT}: {max(size - data, 0):,} of {length:,} bytes are there"
    name = (extension.name or header.name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    start = position if extension.start is None else extension.start
    return Member(name or "?", start, data, length, min(end, max(size, data)), problem)


def _header(file: NativeFile | ReadAhead, position: int) -> tarfile.TarInfo | str | None:
    """The header block at a position; None for a zero block, text for a damaged one."""
    block = file.read_at(BLOCK, position)
    if not block.strip(b"\0"):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return str(error)
    return header if header.size >= 0 else "negative size"


def _after_zeros(file: NativeFile | ReadAhead, position: int, end: int) -> int:
    """The first block that is not zero, or the end."""
    for chunk in chunks(file, position, end, _FIRST):
        if text := chunk.lstrip(b"\0"):
            return position + (len(chunk) - len(text)) // BLOCK * BLOCK
        position += len(chunk)
    return end


def _next_header(file: NativeFile | ReadAhead, damaged: int, end: int) -> int:
    """Where the next sound header, or the end, is. Old headers without a magic are too easily mistaken."""
    begin = damaged
    for chunk in chunks(file, damaged, end, _FIRST):
        at = -1
        while (at := chunk.find(_MAGIC, at + 1)) >= 0:
            start = begin + at - _MAGIC_OFFSET
            if at % BLOCK == _MAGIC_OFFSET and start > damaged and isinstance(_header(file, start), tarfile.TarInfo):
                return start
        begin += len(chunk)
    return end


def _read_extension(file: NativeFile | ReadAhead, header: tarfile.TarInfo, data: int, extension: _Extension) -> str:
    """Notes what an extended header says; returns what is wrong with it."""
    if header.size > _MAX_NAME:
        return f"an extended header of {header.size:,} bytes"
    text = file.read_at(header.size, data)
    if header.type == tarfile.GNUTYPE_LONGNAME:
        extension.name = text.rstrip(b"\0").decode("utf-8", "surrogateescape")
    if header.type in _PAX:
        return _read_pax(text, extension)
    return ""


def _read_pax(text: bytes, extension: _Extension) -> str:
    """Reads `LENGTH KEY=VALUE\\n` records (POSIX.1-2001)."""
    while text.strip(b"\0"):
        digits, _, rest = text.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        key, equals, value = text[len(digits) + 1 : length - 1].partition(b"=")
        if not rest or not equals or not 0 < length <= len(text):
            return "a damaged extended header"
        if key == b"path":
            extension.name = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            if not value.isdigit() or len(value) > _MAX_DIGITS:
                return "a damaged extended header"
            extension.size = int(value)
        elif key.startswith(b"GNU.sparse"):
            extension.sparse = True
        text = text[length:]
    return ""


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
