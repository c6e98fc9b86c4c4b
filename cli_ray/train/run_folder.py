"""The run folder: the one place a run writes to. Opened by everything that writes or reads runs."""

import json
from typing import Any

from cli_ray.config import InjectionConfig, RunConfig, stored_data, stored_injection
from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import Journal, json_line, now, read_journal

PLACE = ("checkpoint.", "cluster.", "evaluation.", "log.")
"""Fields that decide where and how a run goes on and what is measured, not what is learnt; a start may change them."""
EVENTS = "events.jsonl"
"""A line for each thing that happens to a run."""
METRICS = "metrics.jsonl"
"""A line a step, and one for each evaluated checkpoint."""


class RunFolder(Folder):
    """`<runs_dir>/<name>`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._events = Journal(self, EVENTS)

    def event(self, kind: str, **fields: Any) -> None:
        """Adds a line to events.jsonl, with the time."""
        self._events.add(json.dumps({"time": now(), "event": kind, **fields}))

    def events(self) -> list[dict[str, Any]]:
        """The lines of events.jsonl, oldest first, see `read_journal`."""
        return read_journal(self, EVENTS)

    def ending(self) -> dict[str, Any] | None:
        """What a run came to; None while it has not ended, ended with an error or went on since."""
        for event in reversed(self.events()):
            event.pop("time", None)
            kind = event.pop("event")
            if kind != "config":
                return event if kind == "end" and "error" not in event else None
        return None

    def metrics_until(self, step: int) -> list[str]:
        """The lines of metrics.jsonl up to a step, as they stand there; one that was cut is passed over."""
        lines = (self.read(METRICS) or "").split("\n")
        return [line for line in lines if (row := json_line(line)) and row["step"] <= step]

    def check_layers(self, injection: InjectionConfig) -> None:
        """Compares the layers that the config comes to with those that the run has trained so far.

        A version that resolves a count or a negative index otherwise would go on with other layers under the same
        config, and the weights of as many layers fit.

        Args:
            injection: with explicit layers.

        Raises:
            UserError: they differ.
        """
        if not injection.traits.taps:
            return
        for event in self.events():
            if event["event"] == "begin" and event.get("injection"):
                self._check_layers(InjectionConfig.model_validate(stored_injection(event["injection"])), injection)

    def _check_layers(self, then: InjectionConfig, injection: InjectionConfig) -> None:
        for name in ("vision_layers", "decoder_layers"):
            before, here = list(getattr(then, name).layers), list(getattr(injection, name).layers)
            if before != here:
                raise UserError(
                    f"{self.uri} was trained with injection.{name} = {before} (events.jsonl), and its config now means "
                    f"{here}: start a new run with the layers written out"
                )

    def claim(self, config: RunConfig) -> bool:
        """Writes config.json, or checks that the one there gives the same training; it takes a new `PLACE`.

        Returns:
            True when the folder was used before, so that the run is to be resumed.

        Raises:
            UserError: the folder belongs to a run with another config; names the fields that differ. Or the run
                has fewer lanes than it is now given workers.
        """
        new = config.model_dump(mode="json", exclude={"runs_dir"})
        text = self.read("config.json")
        if text is None:
            new["data"]["max_length"] = config.data.max_length or _usual_length(config.model.family)
            self.write("config.json", json.dumps(new, indent=2))
            return False
        old = load_config(self)
        new["data"]["lanes"] = new["data"]["lanes"] or old.lanes
        new["data"]["max_length"] = new["data"]["max_length"] or old.data.max_length
        before = old.model_dump(mode="json", exclude={"runs_dir"})
        before["data"]["lanes"] = old.lanes
        all_differing = differences(before, new)
        differing = [line for line in all_differing if not line.startswith(PLACE)]
        if differing:
            raise UserError(
                f"{self.uri} holds a run with another config. These fields differ:\n  "
                + "\n  ".join(differing)
                + "\nGive the new run another name, or use the old values to resume."
            )
        if config.cluster.max_workers > old.lanes:
            raise UserError(
                f"{self.uri} has {old.lanes} lanes, those of its first start, so more workers would stand idle: "
                f"set cluster.num_workers to at most {old.lanes}"
            )
        if all_differing:
            self.event("config", changed=all_differing)
            self.write("config.json", json.dumps(new, indent=2))
        return True


def _usual_length(family: str) -> int:
    # The families import torch, which opening a run folder does without.
    from cli_ray.model.families import family_named

    length: int = family_named(family).processor_class.usual_length
    return length


def load_config(folder: RunFolder) -> RunConfig:
    """The config a run was started with.

    Raises:
        UserError: the folder is not a run folder.
    """
    text = folder.read("config.json")
    if text is None:
        raise UserError(f"{folder.uri} is not a run folder: it has no config.json")
    values = json.loads(text)
    then = {"injection": stored_injection(values["injection"]), "data": stored_data(values["data"])}
    return RunConfig.model_validate(values | then)


def differences(old: Any, new: Any, field: str = "") -> list[str]:
    """A line for each value that differs between two JSON trees: `section.field: old there, new now`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        below = [differences(old.get(key), new.get(key), f"{field}.{key}" if field else key) for key in keys]
        return [line for lines in below for line in lines]
    return [] if old == new else [f"{field}: {old} there, {new} now"]
