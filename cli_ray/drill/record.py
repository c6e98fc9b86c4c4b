"""What a run wrote down, as far as a drill needs it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """The files of a run folder, read while the run writes to them."""

    folder: Path

    @property
    def losses(self) -> list[tuple[int, float | None]]:
        """Step and loss of each logged step, in the order they were written."""
        return [(line["step"], line["loss"]) for line in _lines(self.folder / "metrics.jsonl") if "loss" in line]

    @property
    def step(self) -> int:
        """The last logged step; 0 before the first one."""
        return max((step for step, _ in self.losses), default=0)

    @property
    def starts(self) -> list[int]:
        """The step that each start of the workers began after: 0, or that of a checkpoint."""
        events = _lines(self.folder / "events.jsonl")
        return [_step(event["checkpoint"]) for event in events if event["event"] == "begin"]

    @property
    def bytes(self) -> int:
        """Size of both files, which changes with every sign of life."""
        files = (self.folder / name for name in ("metrics.jsonl", "events.jsonl"))
        return sum(file.stat().st_size for file in files if file.exists())


def _step(checkpoint: str | None) -> int:
    """The step in the name of a checkpoint, such as `checkpoints/step-00000025`."""
    return int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0


def _lines(file: Path) -> list[dict[str, Any]]:
    """Whole lines; none before there is a file. A line cut by the death of its writer is no line."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
