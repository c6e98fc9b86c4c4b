"""Files on any pyarrow filesystem, named by local paths or URIs: finding, reading and writing them whole.

The rooms of data and evaluations list and read their inputs through it; `Folder` writes through it.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pyarrow import NativeFile, fs

from cli_ray.errors import UserError

_BRACES = re.compile(r"\{([0-9]{1,18}\.\.[0-9]{1,18}|[^{},/]*(?:,[^{},/]*)+)\}")
_MAX_EXPANDED = 1_000_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a source, as it was when the index was made."""

    path: str
    """Local path or URI."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last change, nanoseconds since 1970; 0 where the filesystem has none."""


@lru_cache(maxsize=64)
def _filesystem(root: str) -> fs.FileSystem:
    return fs.FileSystem.from_uri(root)[0]


def resolve(path: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of a local path or URI, and the path within it."""
    if "://" not in path:
        return _filesystem("file:///"), str(Path(path).expanduser().absolute())
    filesystem, inner = fs.FileSystem.from_uri(path)
    return filesystem, inner


def open_file(path: str) -> NativeFile:
    """Opens a file for reading at any position."""
    filesystem, inner = resolve(path)
    return filesystem.open_input_file(inner)


@contextmanager
def write_aside(filesystem: fs.FileSystem, path: str) -> Iterator[BinaryIO | NativeFile]:
    """Opens a file that takes its name only once it is whole; its folder is made.

    On a mounted filesystem it is written beside its place and renamed; an object store shows a file when it is closed.

    Args:
        filesystem: to write to.
        path: of the file within it.

    Raises:
        OSError: the storage failed; a file that was there before is untouched on a mounted one.
    """
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    if not isinstance(filesystem, fs.LocalFileSystem):
        with filesystem.open_output_stream(path, compression=None) as file:  # else pyarrow compresses what ends in .gz
            yield file
        return
    aside = Path(f"{path}.{uuid4().hex}.partial")  # a name of its own, for there may be two writers
    try:
        with aside.open("wb") as local_file:  # of Python, for its errors name the file
            yield local_file
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def list_files(path: str) -> list[Shard]:
    """The files at a path: itself, those below it, or those that match it as a glob; sorted by name.

    `*` and `?` stay within one folder, `**` crosses folders, `{a,b}` and `{000..099}` stand for each of their names
    (all of which must be there), and `~` for the home folder. A local path that is there as it is written is taken so.
    Names that start with `.` or `_` are left out of folders and globs, as other readers of datasets do. A folder that
    links lead to again is read once.

    Raises:
        UserError: there is none, or the path cannot be reached.
    """
    if "://" not in path:
        path = os.path.expanduser(path)
    names = [path] if "://" not in path and os.path.lexists(path) else expand_braces(path)
    try:
        shards = {shard.path: shard for shard in _list(names)}
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: a file's name is not UTF-8, rename it: {error.object!r}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    return [shards[name] for name in sorted(shards)]


def expand_braces(path: str) -> list[str]:
    """The paths that `{a,b}` and `{000..099}` in a path stand for, as in a shell; the path itself without them.

    Raises:
        UserError: there are too many.
    """
    match = _BRACES.search(path)
    if match is None:
        return [path]
    first, dots, last = match[1].partition("..")
    rest = expand_braces(path[match.end() :])
    if not dots:
        names: Sequence[str] = match[1].split(",")
    else:
        width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
        numbers = range(int(first), int(last) + 1)
        names = [str(number).zfill(width) for number in numbers] if len(numbers) <= _MAX_EXPANDED else []
    if not 0 < len(names) * len(rest) <= _MAX_EXPANDED:
        raise UserError(f"{path}: {{{match[1]}}} stands for no file, or more than {_MAX_EXPANDED:,}")
    return [path[: match.start()] + name + end for name in names for end in rest]


def parent(path: str) -> str:
    """The folder a file lies in."""
    return path.rstrip("/").rpartition("/")[0] or "/"


class ReadAhead:
    """A file whose small reads are served from larger ones, for storage where each read takes a round trip."""

    def __init__(self, file: NativeFile, end: int, size: int = 4 << 20) -> None:
        """
        Args:
            file: to read.
            end: nothing behind it is read that was not asked for.
            size: bytes that are read at once.
        """
        self._file, self._end, self._ahead = file, end, size
        self._start, self._bytes = 0, b""

    def size(self) -> int:
        """Of the file."""
        return int(self._file.size())

    def read_at(self, count: int, start: int) -> bytes:
        """So many bytes from a position on; fewer at the end of the file."""
        at = start - self._start
        if at < 0 or at + count > len(self._bytes):
            self._start, at = start, 0
            self._bytes = self._file.read_at(max(count, min(self._ahead, self._end - start)), start)
        return self._bytes[at : at + count]


def chunks(
    file: "NativeFile | ReadAhead", start: int, end: int, first: int = 1 << 20, size: int = 1 << 20
) -> Iterator[bytes]:
    """The bytes `start <= i < end` of a file, piece by piece; the file may be read elsewhere in between.

    Args:
        file: to read.
        start: of the first byte.
        end: one past the last.
        first: bytes of the first piece; each has four times those of the one before, up to `size`.
        size: bytes of the largest piece.
    """
    length = min(first, size)
    while start < end and (data := file.read_at(min(length, end - start), start)):
        start, length = start + len(data), min(4 * length, size)
        yield data


def _list(paths: Sequence[str]) -> Iterator[Shard]:
    """The files at each path, see `list_files`. Their one filesystem is asked for all paths at once."""
    split = [_split_glob(path) for path in paths]
    inner = [resolve(base)[1] for base, _ in split]
    filesystem = resolve(split[0][0])[0]
    for path, (base, pattern), folder, info in zip(paths, split, inner, filesystem.get_file_info(inner), strict=True):
        if info.type == fs.FileType.File:
            yield _shard(base, folder, info)
            continue
        below = [
            info
            for info in _below(filesystem, folder)
            if info.type == fs.FileType.File and _matches(posixpath.relpath(info.path, folder), pattern)
        ]
        if not below:
            raise UserError(f"{path}: no such file, or a folder without files; data.sources takes a path, glob or URI")
        yield from (_shard(base, folder, info) for info in below)


def _below(filesystem: fs.FileSystem, folder: str) -> Iterator[fs.FileInfo]:
    """All that is below a folder."""
    if not isinstance(filesystem, fs.LocalFileSystem):
        yield from filesystem.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
        return
    folders, seen = [folder], set()
    while folders:
        folder = folders.pop()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        infos = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        folders += sorted((info.path for info in infos if info.type == fs.FileType.Directory), reverse=True)
        yield from infos


def _split_glob(path: str) -> tuple[str, str]:
    """The folder above the first wildcard and the pattern below it; the pattern is empty without wildcards.

    A local folder whose name has brackets is itself, and no wildcard.
    """
    head, separator, rest = path.rpartition("://")
    wildcards = "*" if separator else "*?["  # the question mark of a URI starts its query
    steps = rest.split("/")
    wild = next(
        (
            i
            for i, step in enumerate(steps)
            if any(character in step for character in wildcards)
            and (separator or not os.path.lexists("/".join(steps[: i + 1])))
        ),
        len(steps),
    )
    base = "/".join(steps[:wild])
    if not separator:
        base = str(Path(base or ("/" if rest.startswith("/") else ".")).absolute())
    return head + separator + base, "/".join(steps[wild:])


def _matches(name: str, pattern: str) -> bool:
    """Whether a file `name` below the folder belongs to it: not hidden, and as the pattern says, if there is one."""
    if any(step.startswith((".", "_")) for step in name.split("/")):
        return False
    return not pattern or re.fullmatch(_regex(pattern), name) is not None


@lru_cache(maxsize=64)
def _regex(pattern: str) -> str:
    crossing = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    return crossing.replace(r"\*", "[^/]*").replace(r"\?", "[^/]").replace(r"\[", "[").replace(r"\]", "]")


def _shard(base: str, inner: str, info: fs.FileInfo) -> Shard:
    """A listed file, named as `base` is: a path, or a URI with the same head and query.

    Args:
        base: the path or URI that was looked at.
        inner: its path within the filesystem.
        info: the file.
    """
    uri, mark, query = base.partition("?") if "://" in base else (base, "", "")
    path = uri.rstrip("/").removesuffix(inner.rstrip("/")) + info.path + mark + query
    return Shard(path, info.size, info.mtime_ns or 0)
