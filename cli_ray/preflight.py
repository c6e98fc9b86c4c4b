"""What a verb checks before any work begins: the folders that it reads and writes. Called by the verbs."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cli_ray.config import RunConfig
from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder


def check_output(option: str, folder: str) -> None:
    """Refuses a folder that cannot be written to, by writing a file there; leaves nothing behind.

    Of a folder on no mounted filesystem only the URI is checked.

    Args:
        option: that names the folder, such as `--runs-dir`.
        folder: a path or pyarrow URI.

    Raises:
        UserError: it cannot be written, or its URI is of no known kind; or this is a job whose working directory, which
            Ray deletes, would hold it.
    """
    from cli_ray.cluster import refuse_to_lose

    refuse_to_lose(option, folder)
    try:
        target = Folder(folder)
        if target.is_local:
            _try_writing(Path(target.path))
    except OSError as error:
        raise UserError(
            f"{option} {folder} cannot be written: {error.strerror or error}; name a folder that can"
        ) from error
    except ValueError as error:
        raise UserError(f"{option} {folder} cannot be used: {error}; name a path or a URI such as s3://") from error


def check_run(config: RunConfig) -> None:
    """Checks the run folder and, in a job, the sources of a run.

    Raises:
        UserError: the one cannot be written, or, in a job, one of the others is not there.
    """
    from cli_ray.cluster import copy_note
    from cli_ray.data.source import open_source

    check_output("--runs-dir", config.runs_dir)
    for source in (*config.data.sources, *config.validation.sources):
        if note := copy_note(source.path):
            try:
                open_source(source)
            except UserError as error:
                raise UserError(f"{error}{note}") from error


def check_data_root(data_root: str) -> None:
    """Raises UserError when this is a job in whose copy of the working directory the folder of benchmarks is not."""
    from cli_ray.cluster import copy_note

    if data_root and not Path(data_root).exists() and (note := copy_note(data_root)):
        raise UserError(f"--data-root {data_root} is not there{note}")


def _try_writing(folder: Path) -> None:
    """Makes a folder and a file in it, and removes what was not there before."""
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    finally:
        for path in created:
            with suppress(OSError):  # it was never made, or another command writes there already
                os.rmdir(path)
