"""One plain line a step."""

from typing import TYPE_CHECKING

from cli_ray.data.collate import MicroBatch
from cli_ray.text import say
from cli_ray.train.callbacks.callback import Callback
from cli_ray.train.metrics import Metrics

if TYPE_CHECKING:
    from cli_ray.train.loop import TrainLoop


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
