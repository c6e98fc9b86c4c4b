"""The run folder: the one place a run writes to, on any pyarrow filesystem."""

import json
import posixpath
from pathlib import Path
from typing import Any

from pyarrow import fs

from cli_ray.config import RunConfig
from cli_ray.errors import UserError


class RunFolder:
    """`<runs_dir>/<name>`; a local path or a pyarrow URI such as `s3://bucket/runs/name`."""

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
        if not self.exists(name):
            return None
        with self.fs.open_input_stream(self.join(name)) as file:
            return bytes(file.read()).decode()

    def write(self, name: str, text: str) -> None:
        """Writes a whole file: aside and renamed on a local disk; an object store commits on close."""
        path = self.join(name)
        self.fs.create_dir(posixpath.dirname(path), recursive=True)
        target = f"{path}.partial" if self.is_local else path
        with self.fs.open_output_stream(target) as file:
            file.write(text.encode())
        if self.is_local:
            self.fs.move(target, path)

    def append(self, name: str, lines: list[str]) -> None:
        """Adds lines to a file. Object stores cannot append, so there the file is written anew."""
        text = "".join(f"{line}\n" for line in lines)
        if not self.is_local:
            self.write(name, (self.read(name) or "") + text)
            return
        self.fs.create_dir(posixpath.dirname(self.join(name)), recursive=True)
        with self.fs.open_append_stream(self.join(name)) as file:
            file.write(text.encode())

    def delete(self, name: str) -> None:
        """Removes a folder and all below it."""
        self.fs.delete_dir(self.join(name))

    def event(self, kind: str, **fields: Any) -> None:
        """Adds a line to events.jsonl."""
        self.append("events.jsonl", [json.dumps({"event": kind, **fields})])

    def claim(self, config: RunConfig) -> bool:
        """Writes config.json, or checks that the one there is the same.

        Returns:
            True when the folder was used before, so that the run is to be resumed.

        Raises:
            UserError: the folder belongs to a run with another config; names the fields that differ.
        """
        new = config.model_dump(mode="json", exclude={"runs_dir"})
        text = self.read("config.json")
        if text is None:
            self.write("config.json", json.dumps(new, indent=2))
            return False
        differing = _differences(json.loads(text), new)
        if differing:
            raise UserError(
                f"{self.uri} holds a run with another config. These fields differ:\n  "
                + "\n  ".join(differing)
                + "\nGive the new run another name, or use the old values to resume."
            )
        return True


def load_config(folder: RunFolder) -> RunConfig:
    """The config a run was started with.

    Raises:
        UserError: the folder is not a run folder.
    """
    text = folder.read("config.json")
    if text is None:
        raise UserError(f"{folder.uri} is not a run folder: it has no config.json")
    return RunConfig.model_validate(json.loads(text))


def _differences(old: Any, new: Any, field: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        below = [_differences(old.get(key), new.get(key), f"{field}.{key}" if field else key) for key in keys]
        return [line for lines in below for line in lines]
    return [] if old == new else [f"{field}: {old} there, {new} now"]
