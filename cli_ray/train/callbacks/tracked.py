"""What services that track experiments are given: of a run, and of each logged step, evaluation and start of it.

`trackers` makes it, `delivery` hands it over, and `services` take of it what they have a place for.
"""

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cli_ray.config import RunConfig
from cli_ray.train.run_folder import RunFolder

State = Literal["finished", "stopped", "failed"]
"""How this start of a run ended; a run that was stopped or has failed may go on."""

# Matplotlib is not made for several threads, and each service has one.
_drawing = threading.Lock()


@dataclass(frozen=True)
class HeatMap:
    """Values by decoder layer and vision layer."""

    title: str
    values: Sequence[Sequence[float]]
    """By row and column."""
    rows: Sequence[int]
    """Decoder layers."""
    columns: Sequence[int]
    """Vision layers."""

    def png(self) -> bytes:
        """The picture; about 15 kB and a tenth of a second, so that it is drawn by the thread of a service."""
        with _drawing:
            from matplotlib.figure import Figure

            figure = Figure(figsize=(5, 4), dpi=80, layout="constrained")
            axes = figure.add_subplot()
            largest = max((abs(value) for row in self.values for value in row), default=0.0) or 1.0
            image = axes.imshow(
                self.values, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
            )
            axes.set_title(self.title, fontsize=10)
            axes.set_ylabel("decoder layer")
            axes.set_xlabel("vision layer")
            axes.set_yticks(*_ticks(self.rows))
            axes.set_xticks(*_ticks(self.columns))
            figure.colorbar(image)
            file = io.BytesIO()
            figure.savefig(file, format="png")
            return file.getvalue()


@dataclass(frozen=True)
class Table:
    """A table of texts and numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]


@dataclass(frozen=True)
class Line:
    """A logged step; or, beside the steps, an evaluated checkpoint or a start of the run."""

    step: int
    time_s: float
    """Since 1970."""
    metrics: dict[str, float]
    is_step: bool = True
    images: Mapping[str, HeatMap] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What services learn of a run."""

    config: RunConfig
    folder: RunFolder
    id: str
    """The same at each start of the run."""

    @property
    def local(self) -> Path:
        """The run folder, for files.

        Raises:
            OSError: it is on no mounted filesystem.
        """
        if not self.folder.is_local:
            raise OSError(f"its files need a run folder on a mounted filesystem, not {self.folder.uri}")
        return Path(self.folder.path)


def _ticks(layers: Sequence[int]) -> tuple[list[int], list[str]]:
    """Places and labels of at most about twelve layers."""
    places = list(range(0, len(layers), max(1, len(layers) // 12)))
    return places, [str(layers[place]) for place in places]
