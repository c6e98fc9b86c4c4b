"""The log of a run, by rank 0: a line of JSON each logged step in metrics.jsonl, and a plain one on the console."""

import json
import math

from cli_ray.data.share import Share
from cli_ray.storage.lines import Journal, now
from cli_ray.text import say
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import METRICS


class MetricsFile(Callback):
    """Appends a line a step. On resume, lines after the checkpoint are dropped, since those steps are redone."""

    def on_start(self, loop: TrainLoop) -> None:
        if loop.folder.exists(METRICS):
            lines = loop.folder.metrics_until(loop.progress.step)
            loop.folder.write(METRICS, "".join(f"{line}\n" for line in lines))
        self._file = Journal(loop.folder, METRICS)

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if metrics is not None:
            self._file.add(json.dumps({"time": now(), **finite(metrics)}, allow_nan=False))

    def on_end(self, loop: TrainLoop) -> None:
        self._file.close()


class Console(Callback):
    """Prints the metrics of a step; Ray carries the line to the driver."""

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
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


def finite(metrics: Metrics) -> Metrics:
    """Metrics with null in place of NaN and infinity, which JSON cannot hold."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()
    }
