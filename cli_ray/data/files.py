"""Files on any pyarrow filesystem, named by local paths or URIs, and the guard around image folders."""

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pyarrow import NativeFile, fs

from cli_ray.data.sample import BadDataError
from cli_ray.errors import UserError


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
        return _filesystem("file:///"), str(Path(path).absolute())
    found, inner = fs.FileSystem.from_uri(path)
    return found, inner


def open_file(path: str) -> NativeFile:
    """Opens a file for reading at any position."""
    filesystem, inner = resolve(path)
    return filesystem.open_input_file(inner)


def list_files(path: str) -> list[Shard]:
    """The files at a path: itself, those below it, or those that match it as a glob; sorted by name.

    `*` and `?` stay within one folder, `**` crosses folders. Names that start with `.` or `_` are left
    out of folders and globs, as other readers of datasets do. A folder that links lead to again is read once.

    Raises:
        UserError: there is none, or the path cannot be reached.
    """
    base, pattern = _split_glob(path)
    try:
        filesystem, inner = resolve(base)
        info = filesystem.get_file_info(inner)
        if info.type == fs.FileType.File:
            return [_shard(base, inner, info)]
        found = [
            _shard(base, inner, info)
            for info in _below(filesystem, inner)
            if info.type == fs.FileType.File and _matches(posixpath.relpath(info.path, inner), pattern)
        ]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: a file's name is not UTF-8, rename it: {error.object!r}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not found:
        raise UserError(f"{path}: no such file, or a folder without files; data.sources takes a path, glob or URI")
    return sorted(found, key=lambda shard: shard.path)


def parent(path: str) -> str:
    """The folder a file lies in."""
    return path.rstrip("/").rpartition("/")[0] or "/"


def join_inside(folder: str, name: str) -> str:
    """The path of a file that a dataset names, which must lie in `folder`, symbolic links followed.

    Raises:
        BadDataError: it does not.
    """
    steps = posixpath.normpath(name).split("/")
    leaves = "://" in name or name.startswith(("/", "\\", "~")) or steps[0] == ".."
    if not name or leaves or "\0" in name or any("\ud800" <= one <= "\udfff" for one in name):
        raise BadDataError("forbidden path", f"{name!r}: must be a relative path that stays in {folder}")
    joined = f"{folder.rstrip('/')}/{'/'.join(steps)}"
    if "://" not in folder:
        root = os.path.realpath(folder)
        if os.path.commonpath([root, os.path.realpath(joined)]) != root:
            raise BadDataError("forbidden path", f"{name!r}: is a link out of {folder}")
    return joined


def read_small(path: str, limit_bytes: int) -> bytes:
    """The whole of a regular file.

    Raises:
        FileNotFoundError: there is no regular file.
        BadDataError: it is larger than `limit_bytes`.
    """
    filesystem, inner = resolve(path)
    info = filesystem.get_file_info(inner)
    if info.type != fs.FileType.File:
        raise FileNotFoundError(path)
    if info.size > limit_bytes:
        raise BadDataError("image too large", f"{path}: {info.size:,} bytes, the limit is {limit_bytes:,}")
    with filesystem.open_input_file(inner) as file:
        return bytes(file.read())


def chunks(file: NativeFile, start: int, end: int, first: int = 1 << 20, size: int = 1 << 20) -> Iterator[bytes]:
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
    """The folder above the first wildcard and the pattern below it; the pattern is empty without wildcards."""
    head, separator, rest = path.rpartition("://")
    wildcards = "*" if separator else "*?["  # the question mark of a URI starts its query
    steps = rest.split("/")
    wild = next((i for i, step in enumerate(steps) if any(character in step for character in wildcards)), len(steps))
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
    """A found file, named as `base` is: a path, or a URI with the same head and query.

    Args:
        base: the path or URI that was looked at.
        inner: its path within the filesystem.
        info: the file.
    """
    uri, mark, query = base.partition("?") if "://" in base else (base, "", "")
    path = uri.rstrip("/").removesuffix(inner.rstrip("/")) + info.path + mark + query
    return Shard(path, info.size, info.mtime_ns or 0)
