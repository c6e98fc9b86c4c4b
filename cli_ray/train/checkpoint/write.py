"""A checkpoint's files: written by each rank with their checksums, compared with them before they are read."""

import hashlib
from collections.abc import Iterable
from typing import IO, Any, cast

import torch
from pyarrow import NativeFile
from pydantic import TypeAdapter

from cli_ray.train.checkpoint.files import MARKER, Checkpoint, FileSum
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.snapshot import Snapshot

_SUMS = TypeAdapter(dict[str, FileSum])
_CHUNK = 1 << 22


def write_shards(folder: RunFolder, name: str, rank: int, snapshot: Snapshot) -> None:
    """Writes this rank's files, and last the list of them.

    Raises:
        OSError: the storage failed.
    """
    sums = {path: _write(folder, f"{name}/{path}", state) for path, state in snapshot.items()}
    folder.write(f"{name}/{_list_of(rank)}", _SUMS.dump_json(sums).decode())


def commit(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Marks a checkpoint as complete, all ranks having written their files.

    Raises:
        OSError: the storage failed.
    """
    files: dict[str, FileSum] = {}
    for rank in range(checkpoint.world_size):
        path = f"{checkpoint.name}/{_list_of(rank)}"
        text = folder.read(path)
        if text is None:
            raise FileNotFoundError(f"{folder.uri}/{path} was written and is gone")
        files |= _SUMS.validate_json(text)
    complete = checkpoint.model_copy(update={"files": files})
    folder.write(f"{checkpoint.name}/{MARKER}", complete.model_dump_json(indent=2))


def damage(folder: RunFolder, checkpoint: Checkpoint, paths: Iterable[str]) -> str | None:
    """What is wrong with some of a checkpoint's files; None when they are as they were written.

    Raises:
        OSError: the storage failed, which says nothing of the files.
    """
    for path in paths:
        try:
            found = _sum_of(folder, f"{checkpoint.name}/{path}")
        except FileNotFoundError:
            return f"{path} is gone"
        if found != (expected := checkpoint.files[path]):
            what = "content" if found.size == expected.size else f"{found.size:,} bytes instead of {expected.size:,}"
            return f"{path} was changed or cut: {what} (sha256 {found.sha256[:12]}, was {expected.sha256[:12]})"
    return None


class _Summed:
    """A file that is summed up while it is written.

    torch.save tells of a failed write without its reason, hence `fault`.
    """

    def __init__(self, file: NativeFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0
        self.fault: OSError | None = None

    def write(self, data: Any) -> int:
        """Appends bytes; how many."""
        view = memoryview(data)
        try:
            self._file.write(view)
        except OSError as error:
            self.fault = error
            raise
        self._hash.update(view)
        self._size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def sum(self) -> FileSum:
        """Of all that was written."""
        return FileSum(size=self._size, sha256=self._hash.hexdigest())


def _write(folder: RunFolder, path: str, state: Any) -> FileSum:
    folder.fs.create_dir(folder.join(path).rpartition("/")[0], recursive=True)
    with folder.fs.open_output_stream(folder.join(path)) as file:
        summed = _Summed(file)
        try:
            torch.save(state, cast(IO[bytes], summed))
        except RuntimeError as error:
            raise summed.fault or error from error
    there = folder.fs.get_file_info(folder.join(path)).size or 0  # None when the file is gone
    if there != summed.sum().size:
        raise OSError(f"{folder.join(path)}: {summed.sum().size:,} bytes were written, {there:,} are there")
    return summed.sum()


def _sum_of(folder: RunFolder, path: str) -> FileSum:
    digest, size = hashlib.sha256(), 0
    with folder.fs.open_input_stream(folder.join(path)) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            size += len(data)
    return FileSum(size=size, sha256=digest.hexdigest())


def _list_of(rank: int) -> str:
    return f"files-rank{rank}.json"
