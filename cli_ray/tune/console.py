"""What a sweep says while it runs: a line for each thing that happens to a trial."""

import time
from contextlib import suppress
from typing import Any

from ray.tune import Callback

from cli_ray.config import SweepConfig
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import read_journal
from cli_ray.train.run_folder import EVENTS

LOOK_S = 5.0
"""Between looks at the events of trials."""
TROUBLES = {"waiting", "restart", "checkpoint failed", "checkpoint left out", "evaluation failed"}
"""Events of a run that people should know of while it goes on."""


class Console(Callback):
    """Prints lines. What trials print themselves stays in their logs.

    Args:
        config: the sweep.
        runs_dir: holds the run folders of its trials.
    """

    def __init__(self, config: SweepConfig, runs_dir: str) -> None:
        self._objectives, self._runs_dir = config.objectives, runs_dir
        self._told: dict[str, int] = {}
        self._next_look = 0.0

    def setup(self, **info: Any) -> None:
        """Troubles before this start are past."""
        runs = Folder(self._runs_dir)
        self._told = {name: len(_events(runs, name)) for name in _names(runs)}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tells what troubles the runs of the trials, every few seconds."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_S
        running = tuple(trial.trial_id for trial in trials if trial.status == "RUNNING")
        with suppress(OSError):  # the sweep does not depend on it
            for name in _names(runs := Folder(self._runs_dir)):
                if name.startswith(running):
                    self._tell_troubles(name, _events(runs, name))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It begins, or goes on."""
        _tell(trial.trial_id, ", ".join(f"{field} = {value}" for field, value in trial.config.items()))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """It was validated, or has ended by itself. A trial that goes on reports again what it had reported."""
        if result["state"] == "running" and result["step"] <= trial.last_result.get("step", 0):
            return
        known = [f"{one} {result[one]:.6g}" for one in self._objectives if one in result]
        end = [result["state"], result["reason"]] if result["state"] != "running" else []
        _tell(trial.trial_id, ", ".join([f"step {result['step']}", *known, *filter(None, end)]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It was stopped early, or has ended by itself."""
        if trial.last_result.get("state") == "running":
            _tell(trial.trial_id, f"stopped early at step {trial.last_result['step']}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its driver was lost, or raised what it does not know."""
        _tell(trial.trial_id, "lost")

    def _tell_troubles(self, name: str, events: list[dict[str, Any]]) -> None:
        for event in events[self._told.get(name, 0) :]:
            if event["event"] in TROUBLES:
                what = f"{event['event']}, {event['path']}: " if "path" in event else ""
                _tell(name, what + event["reason"])
        self._told[name] = len(events)


def _names(runs: Folder) -> list[str]:
    return [name for name in runs.names("") if not name.endswith(".json")]  # but for the shared indices


def _events(runs: Folder, name: str) -> list[dict[str, Any]]:
    return read_journal(runs, f"{name}/{EVENTS}")


def _tell(name: str, text: str) -> None:
    print(f"trial {name}: {text}", flush=True)
