"""metrics.jsonl: the record of a run.

One plain line a step.

The accelerators of the workers, noted in environment.json at each of their starts.
"""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli_ray.data.collate import MicroBatch
from cli_ray.storage.lines import Journal, json_line, now
from cli_ray.text import say
from cli_ray.train.environment import record_workers
from cli_ray.train.loop import Callback
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import METRICS

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


class MetricsFile(Callback):
    """Appends a line a step. On resume, lines after the checkpoint are dropped, since those steps are redone."""

    def on_start(self, loop: "TrainLoop") -> None:
        text = loop.folder.read(METRICS)
        if text is not None:
            step = loop.progress.step
            lines = [line for line in text.split("\n") if (row := json_line(line)) and row["step"] <= step]
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


class Console(Callback):
    """Prints the metrics of a step; Ray carries the line to the driver."""

    def on_step(self, loop: "TrainLoop", batches: list[MicroBatch], metrics: Metrics | None) -> None:
        if metrics is not None:
            say(step_line(metrics, loop.total_steps))


def step_line(metrics: Metrics, total_steps: int) -> str:
    """The line of a step."""
    rates = {key[3:]: f"{value:.2e}" for key, value in metrics.items() if key.startswith("lr/")}
    if len(set(rates.values())) == 1:
        rates = {"": next(iter(rates.values()))}
    sources = " ".join(f"{key[5:]} {value:.4f}" for key, value in metrics.items() if key.startswith("loss/"))
    gates = [abs(gate) for row in metrics.get("gate_max", []) for gate in row]
    parts = [
        f"step {metrics['step']}/{total_steps}",
        f"epoch {metrics['epoch']}",
        f"loss {metrics['loss']:.4f}" + (f" ({sources})" if sources else ""),
        f"grad_norm {metrics['grad_norm']:.3f}",
        "lr " + " ".join(f"{part} {rate}".strip() for part, rate in rates.items()),
        f"{metrics['tokens/s']:.0f} tokens/s",
        f"{metrics['samples/s']:.1f} samples/s",
        f"wait {metrics['data_wait_ms']:.0f} ms",
        f"step {metrics['step_ms']:.0f} ms",
        f"peak {metrics['peak_GiB']:.2f} GiB",
    ]
    if gates:
        parts.append(f"gate max {max(gates):.4f}")
    if metrics["bad_samples"]:
        parts.append(f"quarantined {metrics['bad_samples']}")
    return " | ".join(parts)


class EnvironmentRecorder(Callback):
    """Runs on every rank, for each knows its own."""

    def on_start(self, loop: "TrainLoop") -> None:
        record_workers(loop.folder)
