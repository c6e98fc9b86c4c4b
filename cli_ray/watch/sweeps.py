"""The trials of a sweep, whether it has ended or is under way, from its folder alone.

While it goes on, `trials/` tells; at its end the driver writes `results.json`, which holds. Read by the views, the
lists and the section of the report.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from cli_ray.config import SweepConfig
from cli_ray.config.sweep import ARM, direction
from cli_ray.errors import UserError
from cli_ray.storage.folder import Folder
from cli_ray.watch.history import RunHistory, read_run

OUTCOME = "outcome.json"
"""In the run folder of a trial that ended by itself, see `tune/trial.py`."""
RESULTS = "results.json"
"""Written by the driver once all trials are over."""


@dataclass(frozen=True)
class TrialHistory:
    """What is known of one trial."""

    trial: str
    """Its name."""
    state: str
    """`finished`, `stopped` (early) and `failed`, or that of its run."""
    reason: str
    step: int | None
    values: dict[str, float]
    """The newest value of each objective that is known."""
    draw: dict[str, Any]
    """What it drew, by dotted field of the run config; values of a choice by their label."""


@dataclass(frozen=True)
class SweepHistory:
    """A sweep as its folder tells it."""

    folder: Folder
    config: SweepConfig
    base: dict[str, Any]
    """The config that trials change."""
    state: Literal["running", "silent", "ended"]
    time: str
    """In UTC, when results.json was written, or of the newest sign of a trial; empty without any."""
    trials: list[TrialHistory]
    front: list[str] = field(default_factory=list)
    """Names of the best trials, once it has ended."""
    importance: dict[str, dict[str, float]] = field(default_factory=dict)
    """By objective, the share of each hyperparameter, once it has ended."""

    @property
    def best(self) -> TrialHistory | None:
        """The trial that is best in the first objective; one that failed is none."""
        objective = self.config.objectives[0]
        known = [trial for trial in self.trials if objective in trial.values and trial.state != "failed"]
        pick = max if direction(objective) == "maximize" else min
        return pick(known, key=lambda trial: trial.values[objective]) if known else None


def read_sweep(uri: str) -> SweepHistory:
    """The history of a sweep.

    Args:
        uri: of its folder: a path or a pyarrow URI.

    Raises:
        UserError: it has no sweep.json that can be read.
    """
    folder = Folder(uri)
    try:
        stored = json.loads(folder.read("sweep.json") or "null")
        config = SweepConfig.model_validate(stored["sweep"] | {"base": "base"})
        base = dict(stored["base"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder.uri}/sweep.json is missing, damaged or of another version: {error}") from error
    runs = {name: read_run(f"{folder.uri}/trials/{name}") for name in _names(folder)}
    is_running = any(run.state.name == "running" for run in runs.values())
    ended, written = _ended(folder)
    if ended is None or is_running:
        time = max((run.state.time for run in runs.values()), default="")
        trials = [_trial(name, run, config) for name, run in runs.items()]
        return SweepHistory(folder, config, base, "running" if is_running else "silent", time, trials)
    trials = [TrialHistory(**values) for values in ended["trials"]]
    return SweepHistory(folder, config, base, "ended", written, trials, ended["front"], ended["importance"])


def _ended(folder: Folder) -> tuple[dict[str, Any] | None, str]:
    """The content of results.json and when it was written; None before the end."""
    text = folder.read(RESULTS)
    if text is None:
        return None, ""
    try:
        content = dict(json.loads(text))
    except ValueError as error:
        raise UserError(f"{folder.uri}/{RESULTS} is damaged: {error}") from error
    return content, folder.fs.get_file_info(folder.join(RESULTS)).mtime.isoformat(timespec="milliseconds")


def _names(folder: Folder) -> list[str]:
    """The run folders of the trials; beside them lie the indices that they share."""
    return [name for name in folder.names("trials") if not name.endswith(".json")]


def _trial(name: str, run: RunHistory, config: SweepConfig) -> TrialHistory:
    values = _values(run, config.objectives)
    stored = json.loads(run.folder.read("config.json") or "{}")
    draw = _draw(stored, config)
    if (text := run.folder.read(OUTCOME)) is not None:
        outcome = json.loads(text)
        values |= {name: outcome[name] for name in config.objectives if outcome.get(name) is not None}
        return TrialHistory(name, outcome["state"], outcome["reason"], outcome["step"], values, draw)
    return TrialHistory(name, run.state.name, run.state.reason, run.state.step, values, draw)


def _values(run: RunHistory, objectives: tuple[str, ...]) -> dict[str, float]:
    """The newest value of each objective that the events of a run and its last metrics tell."""
    values: dict[str, Any] = {}
    for event in run.events:
        if event["event"] == "validation":
            values["validation_loss"] = event["loss"]
        elif event["event"] == "evaluation":
            values |= {f"eval/{name}": score for name, score in event.get("scores", {}).items()}
    for row in run.recent():
        values |= {name: value for name, value in row.items() if name in objectives}
    return {name: values[name] for name in objectives if isinstance(values.get(name), int | float)}


def _draw(config: dict[str, Any], sweep: SweepConfig) -> dict[str, Any]:
    """What a trial drew, read back from its config."""
    draw = {field: _label(value) for field in sweep.space if (value := value_at(config, field)) is not None}
    for name, changes in sweep.arms.items():
        if all(_label(value_at(config, field)) == _label(value) for field, value in changes.items()):
            draw[ARM] = name
            break
    return draw


def value_at(config: Any, field: str) -> Any:
    """The value of a dotted field; None where it is absent."""
    for step in field.split("."):
        config = config.get(step) if isinstance(config, dict) else None
    return config


def _label(value: Any) -> Any:
    """A value as results name it, see `Domain.labels`."""
    return value if isinstance(value, str | int | float) else json.dumps(value, separators=(",", ":"))
