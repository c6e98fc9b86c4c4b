"""metrics.jsonl: the record of a run."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli_ray.data.collate import MicroBatch
from cli_ray.storage.lines import Journal, now
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import METRICS

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class MetricsFile(Callback):
    """Appends a line a step. On resume, lines after the checkpoint are dropped, since those steps are redone."""

    def on_start(self, loop: "TrainLoop") -> None:
        text = loop.folder.read(METRICS)
        if text is not None:
            lines = [line for line in text.splitlines() if _is_before(line, loop.progress.step)]
            loop.folder.write(METRICS, "".join(f"{line}\n" for line in lines))
        self._file = Journal(loop.folder, METRICS)

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        if metrics is not None:
            self._file.add(json.dumps({"time": now(), **finite(metrics)}, allow_nan=False))

    def on_end(self, loop: "TrainLoop") -> None:
        self._file.close()


def finite(metrics: Metrics) -> Metrics:
    """Metrics with null in place of NaN and infinity, which JSON cannot hold."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()
    }


def flatten(metrics: Metrics, layers: tuple[Sequence[int], Sequence[int]]) -> dict[str, float]:
    """Scalars only: nested gates become `gate_mean/v3_d0` (vision layer 3 into decoder layer 0).

    Args:
        layers: tapped vision layers and injected decoder layers.
    """
    vision, decoder = layers
    flat = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    for key in ("gate_mean", "gate_max"):
        for row, d in zip(metrics.get(key, []), decoder, strict=False):
            flat |= {f"{key}/v{v}_d{d}": value for v, value in zip(vision, row, strict=True)}
    return flat


def _is_before(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError):
        return False  # a line cut by the death of its writer
