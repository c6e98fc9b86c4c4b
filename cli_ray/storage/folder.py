"""A folder that is written to, on any pyarrow filesystem: run folders, sweeps and outputs of evaluations."""

import os
import posixpath
from contextlib import suppress
from io import FileIO
from pathlib import Path

from pyarrow import fs

from cli_ray.storage.files import resolve, write_aside


class Folder:
    """A local path or a pyarrow URI such as `s3://bucket/name`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") if "://" in uri else str(Path(uri).absolute())
        self.fs, self.path = resolve(self.uri)

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on a mounted filesystem."""
        return isinstance(self.fs, fs.LocalFileSystem)

    def join(self, name: str) -> str:
        """The path of `name` within the filesystem; without a name that of the folder itself."""
        return posixpath.join(self.path, name) if name else self.path

    def exists(self, name: str) -> bool:
        """Whether a file or folder `name` is there."""
        return bool(self.fs.get_file_info(self.join(name)).type != fs.FileType.NotFound)

    def names(self, name: str) -> list[str]:
        """Base names of what lies in folder `name`, sorted; empty when it is absent."""
        infos = self.fs.get_file_info(fs.FileSelector(self.join(name), allow_not_found=True))
        return sorted(info.base_name for info in infos)

    def folders(self, name: str) -> list[str]:
        """Base names of the folders in folder `name`, sorted; empty when it is absent."""
        infos = self.fs.get_file_info(fs.FileSelector(self.join(name), allow_not_found=True))
        return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)

    def read(self, name: str) -> str | None:
        """Text of a file, or None when it is absent."""
        try:
            with self.fs.open_input_stream(self.join(name)) as file:
                return bytes(file.read()).decode()
        except FileNotFoundError:  # not asked before, for another process may delete it at any moment
            return None

    def write(self, name: str, text: str) -> None:
        """Writes a whole file, see `write_aside`."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a whole file, see `write_aside`."""
        with write_aside(self.fs, self.join(name)) as file:
            file.write(content)

    def append(self, name: str, lines: list[str]) -> None:
        """Adds lines to a file. Object stores cannot append, so there the file is written anew.

        A last line that has no end was cut by the death of its writer. It gets one, so that no other is lost with it.

        Raises:
            OSError: the storage failed; a mounted one then holds none of the lines.
        """
        text = "".join(f"{line}\n" for line in lines)
        if not self.is_local:
            before = self.read(name) or ""
            self.write(name, before + ("\n" if before and not before.endswith("\n") else "") + text)
            return
        path = Path(self.join(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if _is_cut(file, end):
                text = "\n" + text
            try:
                _write_all(file, text.encode())
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise

    def delete(self, name: str) -> None:
        """Removes a folder and all below it."""
        self.fs.delete_dir(self.join(name))

    def delete_file(self, name: str) -> None:
        """Removes a file."""
        self.fs.delete_file(self.join(name))


def _is_cut(file: FileIO, size: int) -> bool:
    """Whether the last line has no end. What cannot be read, such as a device, has no lines."""
    if not size:
        return False
    file.seek(size - 1)
    return file.read(1) != b"\n"


def _write_all(file: FileIO, content: bytes) -> None:
    """A full disk takes a part of what is written before it says so."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
