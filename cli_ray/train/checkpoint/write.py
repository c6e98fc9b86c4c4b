"""Writing a checkpoint: a copy of this rank's state, its files with checksums, and the thread that writes them.

Called by the checkpointer, in this order on each rank: `take_snapshot` while training waits, `write_shards` by the
`Background`, and on rank 0 `commit`, once all ranks have written. `damage` compares checksums before a checkpoint is
loaded (see `restore`).
"""

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import torch
from pyarrow import NativeFile
from pydantic import TypeAdapter
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from cli_ray.train.checkpoint.files import MARKER, TAG, Checkpoint, FileSum
from cli_ray.train.deepspeed_private import saving_to
from cli_ray.train.run_folder import RunFolder

Snapshot = dict[str, Any]
"""What `torch.save` is to write, by path below the checkpoint's folder."""
ATTEMPTS = 3
PAUSE_S = 1.0
"""Before the second attempt; doubled before each further one."""
_SUMS = TypeAdapter(dict[str, FileSum])
_CHUNK = 1 << 22


def take_snapshot(engine: Any) -> Snapshot:
    """Copies what `DeepSpeedEngine.save_checkpoint` would write; called by every rank.

    Takes as much host memory as this rank's share of weights and optimiser states.

    Args:
        engine: the DeepSpeed engine.
    """
    snapshot: Snapshot = {}

    def keep(path: str, state: Any) -> None:
        snapshot[path] = _copied(state, {})

    # DeepSpeed puts its scripts for recovery into the folder, and nothing else.
    with tempfile.TemporaryDirectory() as scratch, saving_to(engine, Path(scratch), keep):
        engine.save_checkpoint(scratch, tag=TAG, save_latest=False, exclude_frozen_parameters=True)
    return snapshot


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
            present = _sum_of(folder, f"{checkpoint.name}/{path}")
        except FileNotFoundError:
            return f"{path} is gone"
        if present != (written := checkpoint.files[path]):
            what = "content" if present.size == written.size else f"{present.size:,} bytes instead of {written.size:,}"
            return f"{path} was changed or cut: {what} (sha256 {present.sha256[:12]}, was {written.sha256[:12]})"
    return None


class Background:
    """One thread of this rank, which does storage work in order and tries again where the storage fails.

    Storage faults are kept for whoever asks; other errors are raised to them.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._work: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether the newest piece of work has still to end."""
        return self._work is not None and not self._work.done()

    @property
    def fault(self) -> OSError | None:
        """What the newest piece of work failed with in its last attempt; waits for its end."""
        if self._work is None:
            return None
        error = self._work.exception()
        if error is not None and not isinstance(error, OSError):
            raise error
        return error

    def forget(self) -> None:
        """Forgets the newest piece of work, after its fault was reported."""
        self._work = None

    def start(self, work: Callable[[], None]) -> None:
        """Queues a piece of work. It may run several times, so it must begin anew each time."""
        self._work = self._pool.submit(partial(_retrying(), work))

    def close(self) -> None:
        """Drops work that has not begun, and does not wait for the rest."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _copied(state: Any, seen: dict[tuple[Any, ...], torch.Tensor]) -> Any:
    """A copy with all tensors on the CPU; views of the same memory, such as tied weights, stay one tensor."""
    if isinstance(state, torch.Tensor):
        key = (state.device, state.data_ptr(), state.dtype, state.shape, state.stride())
        if not state.numel():
            return state.detach().cpu()
        if key not in seen:
            seen[key] = state.detach().to("cpu", copy=True)
        return seen[key]
    if isinstance(state, dict):
        copy = {name: _copied(value, seen) for name, value in state.items()}
        return OrderedDict(copy) if isinstance(state, OrderedDict) else copy
    if isinstance(state, list):
        return [_copied(value, seen) for value in state]
    if type(state) is tuple:
        return tuple(_copied(value, seen) for value in state)
    return state


class _Summed:
    """A file whose checksum is computed while it is written.

    torch.save reports a failed write as a RuntimeError without its reason, hence `fault`.
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
    size = folder.fs.get_file_info(folder.join(path)).size or 0  # None when the file is gone
    if size != summed.sum().size:
        raise OSError(f"{folder.join(path)}: {summed.sum().size:,} bytes were written, {size:,} are there")
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


def _retrying() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(PAUSE_S),
        reraise=True,
    )
