"""Kinds of folders that verbs and reports are given: a run, a sweep, or the results of an evaluation."""

import json
from typing import Literal

from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder
from cli_ray.train.run_folder import EVENTS, METRICS

Kind = Literal["run", "sweep", "results"]

_MARKS: dict[Kind, tuple[str, ...]] = {
    "sweep": ("sweep.json", "trials.parquet"),
    "run": (EVENTS, METRICS, "base.json"),
    "results": ("asked", "samples"),
}
"""By kind, names that no other folder is likely to hold."""


def kind_of(uri: str) -> Kind:
    """What a folder holds, also one that was half-written.

    Args:
        uri: a path or a pyarrow URI.

    Raises:
        UserError: the folder is absent, or none of the three.
    """
    try:
        folder = Folder(uri)
    except ValueError as error:
        raise UserError(f"{uri} cannot be used: {error}; name a path or a URI such as s3://") from error
    names = folder.names("")
    kind = kind_of_folder(folder, names)
    if kind is None:
        what = "holds no run, no sweep and no results of `cli-ray eval`" if names else "is empty or not there"
        raise UserError(
            f"{folder.uri} {what}: name a run folder, the folder of a sweep, or the --output of an evaluation"
        )
    return kind


def kind_of_folder(folder: Folder, names: list[str]) -> Kind | None:
    """The kind of a folder; None where it is none of the three.

    Args:
        folder: whose config.json is read where the names do not tell.
        names: of what lies in it.
    """
    marked = next((kind for kind, marks in _MARKS.items() if not set(marks).isdisjoint(names)), None)
    if marked or "config.json" not in names:
        return marked
    try:
        config = json.loads(folder.read("config.json") or "")
    except ValueError:
        return None
    return "run" if "injection" in config else "results" if "suite" in config else None
