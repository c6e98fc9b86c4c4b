"""What a sweep prints while it runs: a line for each thing that happens to a trial. Ray Tune calls it back."""

import time
from contextlib import suppress
from typing import Any

from ray.tune import Callback

from cli_ray.config import SweepConfig
from cli_ray.storage.folder import Folder
from cli_ray.storage.lines import read_journal
from cli_ray.text import say
from cli_ray.train.run_folder import EVENTS

LOOK_S = 5.0
"""Seconds between looks at the events of the trials."""
TROUBLES = {"waiting", "restart", "checkpoint failed", "checkpoint left out", "evaluation failed", "fault"}
"""Events of a run that people should know of while it goes on."""


class Console(Callback):
    """Prints a line for each start, report, trouble and end of a trial. What trials print stays in their logs.

    Args:
        config: the sweep.
        runs_dir: holds the run folders of its trials.
    """

    def __init__(self, config: SweepConfig, runs_dir: str) -> None:
        self._objectives, self._runs_dir = config.objectives, runs_dir
        self._seen: dict[str, int] = {}  # events of each run that were looked at
        self._next_look = 0.0

    def setup(self, **info: Any) -> None:
        """Passes over the events of earlier starts."""
        runs = Folder(self._runs_dir)
        self._seen = {name: len(_events(runs, name)) for name in _names(runs)}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Prints the troubles of the running trials, every few seconds."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_S
        running = tuple(trial.trial_id for trial in trials if trial.status == "RUNNING")
        with suppress(OSError):  # the sweep does not depend on these lines
            for name in _names(runs := Folder(self._runs_dir)):
                if name.startswith(running):
                    self._print_troubles(name, _events(runs, name))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, or goes on."""
        _print(trial.trial_id, ", ".join(f"{field} = {value}" for field, value in trial.config.items()))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """A trial was validated, or has ended by itself. One that goes on repeats its earlier reports."""
        if result["state"] == "running" and result["step"] <= trial.last_result.get("step", 0):
            return
        values = [f"{name} {result[name]:.6g}" for name in self._objectives if name in result]
        end = [result["state"], result["reason"]] if result["state"] != "running" else []
        _print(trial.trial_id, ", ".join([f"step {result['step']}", *values, *filter(None, end)]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was stopped early, or has ended by itself."""
        if trial.last_result.get("state") == "running":
            _print(trial.trial_id, f"stopped early at step {trial.last_result['step']}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The driver of a trial was lost, or raised an error that is not the trial's own fault."""
        _print(trial.trial_id, "lost")

    def _print_troubles(self, name: str, events: list[dict[str, Any]]) -> None:
        for event in events[self._seen.get(name, 0) :]:
            if event["event"] in TROUBLES:
                subject = f"{event['event']}, {event['path']}: " if "path" in event else ""
                _print(name, subject + event["reason"])
        self._seen[name] = len(events)


def _names(runs: Folder) -> list[str]:
    """The run folders, without the shared indices beside them."""
    return [name for name in runs.names("") if not name.endswith(".json")]


def _events(runs: Folder, name: str) -> list[dict[str, Any]]:
    return read_journal(runs, f"{name}/{EVENTS}")


def _print(name: str, text: str) -> None:
    say(f"trial {name}: {text}")
