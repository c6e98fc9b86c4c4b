"""The log of a run, by rank 0: a line of JSON each logged step in metrics.jsonl, and a plain one on the console."""

import json
import math
import time
from collections import deque

from cli_ray.data.share import Share
from cli_ray.storage.lines import Journal, now
from cli_ray.text import duration, say
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import METRICS

WINDOW = 20
"""Logged steps whose pace tells the time that is left."""


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
    """Prints a line a logged step; Ray carries it to the driver."""

    def on_start(self, loop: TrainLoop) -> None:
        self._seen = deque([(loop.progress.step, time.monotonic())], maxlen=WINDOW)

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if metrics is not None:
            self._seen.append((loop.progress.step, time.monotonic()))
            say(step_line(metrics, loop.total_steps, self._left_s(loop.total_steps)))

    def _left_s(self, total_steps: int) -> float:
        """Seconds to the end at the pace of the last steps, with what came between them."""
        (first, begun), (last, now) = self._seen[0], self._seen[-1]
        return (total_steps - last) * (now - begun) / (last - first)


def step_line(metrics: Metrics, total_steps: int, left_s: float) -> str:
    """The line of a step: how it learns, how fast, and what keeps it from being faster. metrics.jsonl has the rest.

    Args:
        metrics: of the step.
        total_steps: of the run.
        left_s: seconds to its end.
    """
    whole_ms = metrics["data_wait_ms"] + metrics["step_ms"]
    data, ranks = (metrics[name] / whole_ms for name in ("data_wait_ms/max", "rank_wait_ms/median"))
    parts = [
        f"step {metrics['step']:,}/{total_steps:,}",
        f"loss {metrics['loss']:.4f}",
        f"grad {metrics['grad_norm']:.3f}",
        f"lr {max(value for key, value in metrics.items() if key.startswith('lr/')):.2e}",
        f"{metrics['tokens/s']:,.0f} tokens/s",
        f"MFU {metrics['mfu']:.1%}" if "mfu" in metrics else "",
        f"waits: data {data:.0%}, ranks {ranks:.0%}",
        f"{duration(left_s)} left" if metrics["step"] < total_steps else "",
        f"{metrics['bad_samples']:,} quarantined" if metrics["bad_samples"] else "",
        f"{metrics['shrunk_images']:,} images shrunk" if metrics["shrunk_images"] else "",
    ]
    return " | ".join(filter(None, parts))


def finite(metrics: Metrics) -> Metrics:
    """Metrics with null in place of NaN and infinity, which JSON cannot hold."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()
    }
