"""Optional sinks beside metrics.jsonl: each service of `log.sinks` gets the metrics by a thread of its own.

A service may be slow or fail, and never stops or delays a run; the services themselves are in `services`.
"""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from uuid import uuid4

from cli_ray import registry
from cli_ray.config.train import Sink
from cli_ray.data.share import Share
from cli_ray.text import say
from cli_ray.train.callbacks.services import Line, Run, Service, State
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import RunFolder

KEPT = 1000
"""Lines that wait for a service that fails; then the oldest go."""
RETRY_S = 60.0
"""From a failure to the next try."""
CLOSE_S = 30.0
"""What the end of a run waits for a service at most."""
LONGEST_LABEL = 200
"""Characters; MLflow takes names of 250."""
TRACKING = "tracking.json"
"""Holds the id under which services know the run, for each start of it to go on there."""
SERVICES: dict[Sink, type[Service]] = {name: registry.load(path) for name, path in registry.SINKS.items()}

_claim = threading.Lock()


class Tracker(Callback):
    """Hands flat metrics to the thread of a service; on rank 0.

    Args:
        name: of the service.
    """

    def __init__(self, name: Sink) -> None:
        self._name = name
        self._delivery: Delivery | None = None

    def on_start(self, loop: TrainLoop) -> None:
        self._legal = legal_names([source.label for source in loop.config.data.sources])
        self._delivery = Delivery(self._name, SERVICES[self._name](), loop)
        self._delivery.start()

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        if metrics is not None and self._delivery is not None:
            flat = flatten(metrics, loop.engine.layers)
            named = {self._legal.get(name, name): value for name, value in flat.items()}
            self._delivery.put(Line(metrics["step"], time.time(), named))

    def on_end(self, loop: TrainLoop) -> None:
        self._close("stopped" if loop.pause else "finished")

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        self._close("failed")

    def _close(self, state: State) -> None:
        if self._delivery is not None:
            self._delivery.close(state)


class Delivery(threading.Thread):
    """The thread of a service: gives it the lines, reports its first failure, and tries again later."""

    def __init__(self, name: str, service: Service, loop: TrainLoop) -> None:
        super().__init__(name=f"tracker-{name}", daemon=True)
        self._service, self._label, self._loop = service, name, loop
        self._first_step = loop.progress.step + 1
        self._lines: deque[Line] = deque()
        self._lost = 0
        self._changed = threading.Condition()
        self._state: State | None = None
        self._has_failed = False

    def put(self, line: Line) -> None:
        """Adds a line; waits for nothing."""
        with self._changed:
            if len(self._lines) == KEPT:
                self._lines.popleft()
                self._lost += 1
            self._lines.append(line)
            self._changed.notify()

    def close(self, state: State) -> None:
        """Gives the service a last while for the rest; says what did not reach it."""
        if self._state is not None:
            return
        with self._changed:
            self._state = state
            self._changed.notify()
        self.join(CLOSE_S)
        lost = self._lost + len(self._lines)
        if lost:
            say(f"{lost} logged steps did not reach {self._label}; metrics.jsonl of the run folder has them all")

    def run(self) -> None:
        """Until the end of the run."""
        is_open = False
        while True:
            try:
                if not is_open:
                    self._service.open(tracked(self._loop), self._lines[0].step if self._lines else self._first_step)
                    is_open = True
                self._hand_over()
                if self._state is not None and not self._lines:
                    self._service.close(self._state)
                    return
            except Exception as error:  # services raise what they like
                is_open = False
                self._fail(error)
                if self._state is not None:
                    return

    def _hand_over(self) -> None:
        """Waits for lines, and gives them to the service one after the other."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._state is not None)
        while self._lines:
            line = self._lines[0]
            self._service.log(line)
            with self._changed:
                if self._lines and self._lines[0] is line:  # else it was lost meanwhile
                    self._lines.popleft()

    def _fail(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            say(
                f"log.sinks: {self._label} fails and is left out, tried again every {RETRY_S:.0f} s while training "
                f"goes on: {reason(error)}"
            )
        self._service.abandon()
        with self._changed:
            self._changed.wait_for(lambda: self._state is not None, timeout=RETRY_S)


def tracked(loop: TrainLoop) -> Run:
    """What services learn of a run."""
    return Run(loop.config, loop.folder, identity(loop.folder))


def identity(folder: RunFolder) -> str:
    """The id under which services know a run; created once and kept in the run folder."""
    with _claim:
        text = folder.read(TRACKING)
        if text is None:
            text = json.dumps({"id": uuid4().hex})
            folder.write(TRACKING, text)
    id_: str = json.loads(text)["id"]
    return id_


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


def reason(error: Exception) -> str:
    """An error in a line, without the login that an address may hold."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return re.sub(r"://[^/@\s]*@", "://", line)[:500]
