"""The run folder: the one place a run writes to."""

import json
from typing import Any

from cli_ray.config import RunConfig
from cli_ray.data.folder import Folder
from cli_ray.errors import UserError
from cli_ray.train.journal import Journal

METRICS = "metrics.jsonl"
"""A line a step, and one for each evaluated checkpoint."""


class RunFolder(Folder):
    """`<runs_dir>/<name>`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._events = Journal(self, "events.jsonl")

    def event(self, kind: str, **fields: Any) -> None:
        """Adds a line to events.jsonl."""
        self._events.add(json.dumps({"event": kind, **fields}))

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
