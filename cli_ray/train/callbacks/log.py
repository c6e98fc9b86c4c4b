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
        f"{metrics['TFLOP/s']:.3g} TFLOP/s" + (f" (mfu {metrics['mfu']:.1%})" if "mfu" in metrics else ""),
        f"padding {metrics['padding_share']:.1%}",
        f"step {metrics['step_ms']:.0f} ms",
        f"compute {_over_ranks(metrics, 'compute_ms')} ms",
        f"wait for data {_over_ranks(metrics, 'data_wait_ms')} ms",
        f"wait for ranks {_over_ranks(metrics, 'rank_wait_ms')} ms",
        f"peak {metrics['peak_GiB']:.2f} GiB",
    ]
    if gates:
        parts.append(f"gate max {max(gates):.4f}")
    if metrics["bad_samples"]:
        parts.append(f"quarantined {metrics['bad_samples']}")
    if metrics["shrunk_images"]:
        parts.append(f"shrunk images {metrics['shrunk_images']}")
    return " | ".join(parts)


def _over_ranks(metrics: Metrics, name: str) -> str:
    """The median of the ranks and the largest: `100 (rank 3: 130)`."""
    median, largest = f"{metrics[f'{name}/median']:.0f}", f"{metrics[f'{name}/max']:.0f}"
    return median if median == largest else f"{median} (rank {metrics[f'{name}/rank']}: {largest})"


def finite(metrics: Metrics) -> Metrics:
    """Metrics with null in place of NaN and infinity, which JSON cannot hold."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()
    }
