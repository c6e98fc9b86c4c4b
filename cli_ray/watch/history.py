"""The history of a run: its config, what happened to it, its numbers and its state, from the run folder alone.

Read by the views, the lists and the reports, of runs that go on anywhere, were killed, or never got far.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pyarrow import fs
from pydantic import ValidationError

from cli_ray.config import RunConfig
from cli_ray.config.load import explain
from cli_ray.storage.lines import journal_end, stream_journal
from cli_ray.train.run_folder import EVENTS, LEASE, METRICS, PATIENCE_S, RunFolder, load_config

StateName = Literal["not started", "running", "silent", "stopped", "failed", "ended"]

_GOES_ON = ("start", "resume", "begin", "restart", "preempted")
_OVER = ("end", "stopped", "stopped early")


@dataclass(frozen=True)
class RunState:
    """What a run is doing, or what it came to."""

    name: StateName
    """`silent` where its driver gives no sign of life and has not said why; `stopped` by a signal or by its sweep."""
    reason: str
    """In words; empty where the name says all."""
    time: str
    """In UTC, as journals write it: of the end, or of the last sign of life; empty where there is none."""
    step: int | None
    """The last one that is known."""


@dataclass(frozen=True)
class RunHistory:
    """A run as its folder tells it."""

    folder: RunFolder
    config: RunConfig | None
    """None when it is absent or cannot be read."""
    config_error: str
    """Why there is no config; empty where there is one."""
    events: list[dict[str, Any]]
    """The lines of events.jsonl, oldest first."""
    state: RunState

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl one by one, in flat memory; lines that were cut are passed over."""
        return stream_journal(self.folder, METRICS)

    def recent(self) -> list[dict[str, Any]]:
        """The last lines of metrics.jsonl, without reading those before."""
        return journal_end(self.folder, METRICS)

    def steps(self) -> list[dict[str, Any]]:
        """Those of the last lines that are of training steps, and not of evaluated checkpoints."""
        return [row for row in self.recent() if "loss" in row]


def read_run(uri: str) -> RunHistory:
    """The history of a run.

    Args:
        uri: of the run folder: a path or a pyarrow URI. What is missing there is missing in the history.
    """
    folder = RunFolder(uri)
    config, config_error = _config(folder)
    events = folder.events()
    return RunHistory(folder, config, config_error, events, state_of(folder, events))


def state_of(folder: RunFolder, events: list[dict[str, Any]]) -> RunState:
    """The state of a run.

    Args:
        folder: of the run.
        events: its lines of events.jsonl.
    """
    signs = _signs(folder)
    step = last_step(folder)
    last = next((event for event in reversed(events) if event["event"] in (*_GOES_ON, *_OVER)), None)
    if last is not None and last["event"] in _OVER and not _is_taken_up(last, signs):
        return _ending(last, step)
    newest = max(signs.values(), default=None)
    time = "" if newest is None else newest.isoformat(timespec="milliseconds")
    if LEASE in signs:
        silent_s = (datetime.now(UTC) - signs[LEASE]).total_seconds()
        if silent_s <= PATIENCE_S:
            return RunState("running", _waiting(events), time, step)
        silence = timedelta(seconds=round(silent_s))
        reason = f"no sign of life for {silence}: its driver was killed, or its machine is gone"
        return RunState("silent", f"{reason}; the same command goes on", time, step)
    if last is None:
        return RunState("not started", "", time, step)
    return RunState("silent", "its driver ended without a word; the same command goes on", time, step)


def last_step(folder: RunFolder) -> int | None:
    """The step of the last line of metrics.jsonl."""
    return max((row["step"] for row in journal_end(folder, METRICS) if "step" in row), default=None)


def _config(folder: RunFolder) -> tuple[RunConfig | None, str]:
    """The config of a run, or why there is none."""
    try:
        return load_config(folder), ""
    except ValidationError as error:
        return None, explain(error, "config.json", RunConfig)
    except KeyError as error:
        return None, f"config.json has no section {error}"
    except (TypeError, ValueError) as error:
        return None, f"config.json cannot be read: {error}"


def _signs(folder: RunFolder) -> dict[str, datetime]:
    """By file, when a running run last wrote to it."""
    names = (LEASE, EVENTS, METRICS)
    infos = folder.fs.get_file_info([folder.join(name) for name in names])
    return {name: info.mtime for name, info in zip(names, infos, strict=True) if info.type != fs.FileType.NotFound}


def _is_taken_up(event: dict[str, Any], signs: dict[str, datetime]) -> bool:
    """Whether a driver has begun after the end of the one before, and has not said so in an event yet."""
    return LEASE in signs and signs[LEASE] > datetime.fromisoformat(event["time"])


def _ending(event: dict[str, Any], step: int | None) -> RunState:
    kind, time = event["event"], event["time"]
    step = event.get("step", step)
    if kind == "end" and "error" not in event:
        return RunState("ended", "", time, step)
    if kind == "end":
        return RunState("failed", event["error"], time, step)
    if kind == "stopped early":
        return RunState("stopped", event["reason"], time, step)
    return RunState("stopped", f"by {event['signal']}; the same command goes on", time, step)


def _waiting(events: list[dict[str, Any]]) -> str:
    """What the newest event says that the run waits for; empty where it is another one."""
    last = events[-1] if events else {}
    return str(last["reason"]) if last.get("event") in ("waiting", "restart") else ""
