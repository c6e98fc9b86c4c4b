"""A checkpoint's files: written by each rank with their checksums, compared with them before they are read.

The state of this rank's DeepSpeed engine, copied to the CPU so that it can be written while training goes on.

Storage work beside training: in order, one after the other, tried again when the storage fails.
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
from cli_ray.train.run_folder import RunFolder

Snapshot = dict[str, Any]
"""What `torch.save` is to write, by path below the checkpoint's folder."""


def take_snapshot(engine: Any) -> Snapshot:
    """Copies what `DeepSpeedEngine.save_checkpoint` would write; called by every rank.

    Takes as much host memory as this rank's share of weights and optimiser states.

    Args:
        engine: the DeepSpeed engine.
    """
    own = engine.checkpoint_engine
    with tempfile.TemporaryDirectory() as scratch:  # DeepSpeed puts its scripts for recovery there, nothing else
        recorder = engine.checkpoint_engine = _Recorder(own, Path(scratch))
        try:
            engine.save_checkpoint(scratch, tag=TAG, save_latest=False, exclude_frozen_parameters=True)
        finally:
            engine.checkpoint_engine = own
    return recorder.snapshot


class _Recorder:
    """The checkpoint engine of DeepSpeed's engine, but keeps copies instead of writing files.

    No subclass, for drivers import this module and would load DeepSpeed with it.
    """

    def __init__(self, own: Any, folder: Path) -> None:
        self._own, self._folder = own, folder
        self.snapshot: Snapshot = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def save(self, state_dict: Any, path: str) -> None:
        """See `CheckpointEngine` of DeepSpeed."""
        self.snapshot[Path(path).relative_to(self._folder).as_posix()] = _copied(state_dict, {})

    def preserves_storage_sharing(self) -> bool:
        """Nothing needs to be cloned before it comes here."""
        return False


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


ATTEMPTS = 3
PAUSE_S = 1.0
"""Before the second attempt; doubled before each further one."""


class Background:
    """One thread of this rank. Storage faults are kept for whoever asks; other errors are raised to them."""

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
        """Puts the newest piece of work out of mind, its fault having been told."""
        self._work = None

    def start(self, work: Callable[[], None]) -> None:
        """Has work done after all that was given before; it may run several times, so it must begin anew each time."""
        self._work = self._pool.submit(partial(_persistent(), work))

    def close(self) -> None:
        """Leaves unstarted work undone and does not wait for the rest."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _persistent() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(PAUSE_S),
        reraise=True,
    )
