"""A folder that is written to, on any pyarrow filesystem."""

import posixpath
from contextlib import suppress
from io import FileIO
from pathlib import Path
from uuid import uuid4

from pyarrow import fs


class Folder:
    """A local path or a pyarrow URI such as `s3://bucket/name`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") if "://" in uri else str(Path(uri).absolute())
        self.fs, self.path = fs.FileSystem.from_uri(self.uri)

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on a mounted filesystem."""
        return isinstance(self.fs, fs.LocalFileSystem)

    def join(self, name: str) -> str:
        """The path of `name` within the filesystem."""
        return posixpath.join(self.path, name)

    def exists(self, name: str) -> bool:
        """Whether a file or folder `name` is there."""
        return bool(self.fs.get_file_info(self.join(name)).type != fs.FileType.NotFound)

    def names(self, name: str) -> list[str]:
        """Base names of what lies in folder `name`, sorted; empty when it is absent."""
        infos = self.fs.get_file_info(fs.FileSelector(self.join(name), allow_not_found=True))
        return sorted(info.base_name for info in infos)

    def read(self, name: str) -> str | None:
        """Text of a file, or None when it is absent."""
        try:
            with self.fs.open_input_stream(self.join(name)) as file:
                return bytes(file.read()).decode()
        except FileNotFoundError:  # asked afterwards, for another process may delete it at any moment
            return None

    def write(self, name: str, text: str) -> None:
        """Writes a whole file, see `write_bytes`."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a whole file: aside and renamed on a local disk; an object store commits on close."""
        path = self.join(name)
        self.fs.create_dir(posixpath.dirname(path), recursive=True)
        if not self.is_local:
            with self.fs.open_output_stream(path) as file:
                file.write(content)
            return
        aside = Path(f"{path}.{uuid4().hex}.partial")  # of its own, for there may be two writers
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def append(self, name: str, lines: list[str]) -> None:
        """Adds lines to a file. Object stores cannot append, so there the file is written anew.

        Raises:
            OSError: the storage failed; a mounted one then holds none of the lines.
        """
        text = "".join(f"{line}\n" for line in lines)
        if not self.is_local:
            self.write(name, (self.read(name) or "") + text)
            return
        path = Path(self.join(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            end = file.tell()
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


def _write_all(file: FileIO, content: bytes) -> None:
    """A full disk takes a part of what is written before it says so."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
