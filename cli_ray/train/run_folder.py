"""The run folder: the one place a run writes to. Opened by everything that writes or reads runs."""

import json
from typing import Any

from cli_ray.config import InjectionConfig, RunConfig, stored_data, stored_injection, stored_train
from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import Journal, json_line, now, read_journal

PLACE = ("checkpoint.", "cluster.", "evaluation.", "log.", "train.packing", "train.pack_tokens", "train.profile.")
"""Fields that decide where and how a run goes on and what is measured, not what is learnt; a start may change them."""
LENGTH = ("train.epochs:", "train.max_steps:")
"""Fields that decide how long a run is; a start may raise them where its rates do not depend on that."""
EVENTS = "events.jsonl"
"""A line for each thing that happens to a run."""
METRICS = "metrics.jsonl"
"""A line a step, and one for each evaluated checkpoint."""
RANKS = "ranks.jsonl"
"""A line every half minute: where the time of the steps went on each rank."""
LEASE = "lease.json"
"""There while a driver works on the run, which renews it, see `run_lock`."""
PATIENCE_S = 60.0
"""A driver that does not renew its lease for so long is dead."""


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

    def outcome(self, config: RunConfig) -> dict[str, Any] | None:
        """What a run came to; None while it has not ended, see `ending`, or is to go on longer.

        Raises:
            UserError: see `check_config`.
        """
        end = self.ending()
        is_longer = end is not None and any(line.startswith(LENGTH) for line in self.check_config(config))
        return None if is_longer else end

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
            UserError: see `check_config`.
        """
        if not self.exists("config.json"):
            length = config.data.max_length or _usual_length(config.model.family)
            data = config.data.model_copy(update={"max_length": length})
            _write_config(self, config.model_copy(update={"data": data}))
            return False
        if changed := self.check_config(config):
            is_longer = any(line.startswith(LENGTH) for line in changed)
            self.event("longer" if is_longer else "config", changed=changed)
            _write_config(self, as_begun(config, load_config(self)))
        return True

    def check_config(self, config: RunConfig) -> list[str]:
        """Compares a config with that of the run in this folder, where there is one.

        Returns:
            What differs and may differ, see `PLACE` and `LENGTH`, a line each.

        Raises:
            UserError: the folder belongs to a run with another config; names the fields that differ. Or it would be
                longer, and its rates others. Or the run has fewer lanes than it is now given workers.
        """
        if not self.exists("config.json"):
            return []
        old = load_config(self)
        before, here = (as_begun(config, old).model_dump(mode="json", exclude={"runs_dir"}) for config in (old, config))
        all_differing = differences(before, here)
        differing = [line for line in all_differing if not line.startswith(PLACE)]
        if differing and all(line.startswith(LENGTH) for line in differing):
            self._check_length(old, config, differing)
        elif differing:
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
        return all_differing

    def _check_length(self, begun: RunConfig, config: RunConfig, differing: list[str]) -> None:
        """Raises UserError where the steps of a run would have had other rates in one of the length of `config`."""
        # The index brings the readers, and they need what opening a run folder does without.
        from cli_ray.data.index import Index
        from cli_ray.train.schedule import may_be_longer

        index = self.read("index.json")  # absent before the first step
        if index is None or may_be_longer(begun, config, Index.from_json(index)):
            return
        raise UserError(
            f"{self.uri} cannot become a run of another length: {', '.join(differing)}. The rates of its steps depend "
            "on its length, which can only be raised where they do not: with optim.min_lr_share = 1, and as many steps "
            "of warm-up. Use the old values to resume, or train on what it came to, under another name and with a "
            "schedule of its own:\n"
            f"  cli-ray export {self.uri} --output models/{begun.name}\n"
            f"  cli-ray train CONFIG.toml --name {begun.name}-2 --model.checkpoint models/{begun.name}"
        )


def as_begun(config: RunConfig, begun: RunConfig) -> RunConfig:
    """The config with what it leaves open as the run's first start had it: lanes, lengths and packing.

    Args:
        config: of this start.
        begun: what config.json holds.
    """
    data = {
        "lanes": config.data.lanes or begun.lanes,
        "max_length": config.data.max_length or begun.data.max_length,
        "shrink_images": begun.data.shrinks if config.data.shrink_images is None else config.data.shrinks,
    }
    train = {"packing": begun.packs if config.train.packing is None else config.packs}
    sections = {"data": config.data.model_copy(update=data), "train": config.train.model_copy(update=train)}
    return config.model_copy(update=sections)


def _write_config(folder: RunFolder, config: RunConfig) -> None:
    folder.write("config.json", json.dumps(config.model_dump(mode="json", exclude={"runs_dir"}), indent=2))


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
    then = {
        "injection": stored_injection(values["injection"]),
        "data": stored_data(values["data"]),
        "train": stored_train(values["train"]),
    }
    return RunConfig.model_validate(values | then)


def differences(old: Any, new: Any, field: str = "") -> list[str]:
    """A line for each value that differs between two JSON trees: `section.field: old there, new now`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        below = [differences(old.get(key), new.get(key), f"{field}.{key}" if field else key) for key in keys]
        return [line for lines in below for line in lines]
    return [] if old == new else [f"{field}: {old} there, {new} now"]
