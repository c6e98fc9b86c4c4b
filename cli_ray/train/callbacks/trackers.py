"""Optional sinks beside metrics.jsonl: services of `log.sinks` get what metrics.jsonl gets, and pictures and tables.

`Tracker` is the callback of one; the driver gives them what comes after the training by `deliver_results`.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from cli_ray import registry
from cli_ray.config import RunConfig
from cli_ray.config.train import Sink
from cli_ray.data.share import Share
from cli_ray.storage.lines import read_journal
from cli_ray.train.callbacks.delivery import Delivery, deliver
from cli_ray.train.callbacks.services import Service
from cli_ray.train.callbacks.tracked import HeatMap, Line, State, Table
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import METRICS, RunFolder

LONGEST_LABEL = 200
"""Characters; MLflow takes names of 250."""
PICTURE_EVERY = 20
"""Logged steps from one picture of the gates to the next."""
SERVICES: dict[Sink, type[Service]] = {name: registry.load(path) for name, path in registry.SINKS.items()}


class Tracker(Callback):
    """Hands the metrics of steps, evaluations and restarts to the thread of a service; on rank 0.

    Args:
        name: of the service.
    """

    def __init__(self, name: Sink) -> None:
        self._name = name
        self._delivery: Delivery | None = None

    def on_start(self, loop: TrainLoop) -> None:
        self._legal = legal_names([source.label for source in loop.config.data.sources])
        self._has_said_restarts = False
        service, missed = SERVICES[self._name](), partial(self._missed, loop, loop.progress.step)
        self._delivery = Delivery(self._name, service, loop.config, loop.folder, loop.progress.step + 1, missed)
        self._delivery.start()

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if self._delivery is None:
            return
        if metrics is not None:
            self._delivery.put(self._line(metrics, time.time(), loop))
        elif loop.validated is not None:
            self._delivery.put(Line(loop.progress.step, time.time(), {"validation_loss": loop.validated}))
        for line in map(result_line, loop.results):
            self._delivery.put(line)

    def on_end(self, loop: TrainLoop) -> None:
        self._close("stopped" if loop.pause else "finished")

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        self._close("failed")

    def _close(self, state: State) -> None:
        if self._delivery is not None:
            self._delivery.close(state)

    def _line(self, metrics: Metrics, time_s: float, loop: TrainLoop) -> Line:
        flat = flatten(metrics, loop.engine.layers)
        named = {self._legal.get(name, name): value for name, value in flat.items()}
        return Line(metrics["step"], time_s, named, images=pictures(metrics, loop))

    def _missed(self, loop: TrainLoop, begun: int, reached: int | None, next_step: int) -> Iterator[Line]:
        """The logged steps that a service lacks before those to come, and once that the run was started again.

        Args:
            loop: of the run.
            begun: step that this start of it began at.
            reached: last step that the service has.
            next_step: that it will be given.
        """
        if reached is not None and reached < next_step - 1:
            for text in loop.folder.metrics_until(next_step - 1):
                row = json.loads(text)
                if row["step"] > reached and "loss" in row:
                    yield self._line(row, datetime.fromisoformat(row["time"]).timestamp(), loop)
        starts = starts_of(loop.folder.events())
        if len(starts.rows) > 1 and not self._has_said_restarts:
            count = {"restarts": float(len(starts.rows) - 1)}
            yield Line(begun + 1, time.time(), count, is_step=False, tables={"starts": starts})
            self._has_said_restarts = True


def deliver_results(config: RunConfig, folder: RunFolder, results: Sequence[Metrics], state: State) -> None:
    """Gives the services evaluations that ended after the training; called by the driver, when no worker is left.

    Args:
        config: of the run.
        folder: of the run.
        results: one or more, see `evaluations.join_results`.
        state: of the run.
    """
    after = 1 + max(line["step"] for line in read_journal(folder, METRICS))
    services = [Delivery(name, SERVICES[name](), config, folder, after) for name in config.log.sinks]
    deliver([result_line(result) for result in results], services, state)


def flatten(metrics: Metrics, layers: tuple[Sequence[int], Sequence[int]]) -> dict[str, float]:
    """Scalars only: nested gates become `gate_mean/v3_d0` (vision layer 3 into decoder layer 0).

    Args:
        metrics: of a step.
        layers: tapped vision layers and injected decoder layers.
    """
    vision, decoder = layers
    flat = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    for key in ("gate_mean", "gate_max"):
        for row, d in zip(metrics.get(key, []), decoder, strict=False):
            flat |= {f"{key}/v{v}_d{d}": value for v, value in zip(vision, row, strict=True)}
    return flat


def pictures(metrics: Metrics, loop: TrainLoop) -> dict[str, HeatMap]:
    """Heat maps of the gates, at the first logged step, the last one and every `PICTURE_EVERY`-th."""
    step, every = metrics["step"], loop.config.log.every
    if step != loop.total_steps and (step // every - 1) % PICTURE_EVERY:
        return {}
    vision, decoder = loop.engine.layers
    titles = {"gate_mean": "mean gate", "gate_max": "largest gate"}
    return {
        f"gates/{key}": HeatMap(f"{title}, step {step}", metrics[key], decoder, vision)
        for key, title in titles.items()
        if metrics.get(key)
    }


def result_line(result: Metrics) -> Line:
    """The scores of an evaluated checkpoint, as numbers and as a table.

    Args:
        result: see `evaluations.join_results`.
    """
    scores = {name: value for name, value in result.items() if name.startswith("eval/")}
    rows = [
        (name.removeprefix("eval/"), value, scores.get(f"{name}_se"))
        for name, value in scores.items()
        if not (name.endswith("_se") and name.removesuffix("_se") in scores)
    ]
    numbers = {name: float(value) for name, value in scores.items() if value is not None}
    table = Table(("benchmark", "score", "standard error"), rows)
    return Line(result["step"], time.time(), numbers, is_step=False, tables={"eval/scores": table})


def starts_of(events: Iterable[Mapping[str, Any]]) -> Table:
    """Each start of the workers of a run: when, from which checkpoint, on how many, and what had ended the one before.

    Args:
        events: of the run, oldest first.
    """
    rows, why = [], ""
    for event in events:
        if event["event"] == "begin":
            moment = datetime.fromisoformat(event["time"]).isoformat(sep=" ", timespec="seconds")
            rows.append((moment, event["checkpoint"] or "none", str(event["workers"]), why or "not known"))
            why = ""
        elif event["event"] in ("restart", "preempted", "stopped", "resume"):
            why = str(event.get("reason", event["event"]))
    if rows:
        rows[0] = (*rows[0][:3], "the first start")
    return Table(("time", "from checkpoint", "workers", "why"), rows)


def legal_names(labels: Iterable[str]) -> dict[str, str]:
    """By the name of a source's metric, a different name for each that every service takes: letters, digits, `_`, `.`
    and `-`."""
    legal: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[^\w.-]", "_", label)[:LONGEST_LABEL]
        if not plain.strip("."):
            plain = "_" * len(plain)
        name, number = f"loss/{plain}", 1
        while name in legal.values():
            number += 1
            name = f"loss/{plain}_{number}"
        legal[f"loss/{label}"] = name
    return legal
