"""The thread between a run and a service that tracks it: the service may be slow or fail, and the run goes on.

`trackers` starts one for each service of `log.sinks`, in rank 0 while training goes on and in the driver after it.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from uuid import uuid4

from cli_ray.config import RunConfig
from cli_ray.text import say
from cli_ray.train.callbacks.services import Service, reason
from cli_ray.train.callbacks.tracked import Line, Run, State
from cli_ray.train.run_folder import RunFolder

KEPT = 1000
"""Lines that wait for a service that fails; then the oldest go."""
RETRY_S = 60.0
"""From a failure to the next try."""
CLOSE_S = 30.0
"""What the end of a run waits for a service at most."""
TRACKING = "tracking.json"
"""Holds the id under which services know the run, for each start of it to go on there."""

_claim = threading.Lock()


class Delivery(threading.Thread):
    """Gives a service the lines of a run, reports its first failure, and tries again later.

    Args:
        name: of the service.
        service: to be given the lines.
        config: of the run.
        folder: of the run.
        first_step: that this start of the run logs.
        missed: gives the lines that a service lacks, from the last step that it has (None where it takes steps again)
            and the next that it will be given; called by the thread, for it may read files.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        config: RunConfig,
        folder: RunFolder,
        first_step: int,
        missed: Callable[[int | None, int], Iterable[Line]] = lambda reached, next_step: (),
    ) -> None:
        super().__init__(name=f"tracker-{name}", daemon=True)
        self._service, self._label, self._config, self._folder = service, name, config, folder
        self._first_step, self._missed = first_step, missed
        self._reached = 0
        """Steps up to it are not given to the service again: their second calculation gives the same."""
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
                    self._open()
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

    def _open(self) -> None:
        with self._changed:
            next_step = next((line.step for line in self._lines if line.is_step), self._first_step)
        run = Run(self._config, self._folder, identity(self._folder))
        reached = self._service.open(run, next_step)
        self._reached = reached or 0
        for line in self._missed(reached, next_step):
            self._give(line)

    def _hand_over(self) -> None:
        """Waits for lines, and gives them to the service one after the other."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._state is not None)
        while self._lines:
            line = self._lines[0]
            self._give(line)
            with self._changed:
                if self._lines and self._lines[0] is line:  # else it was lost meanwhile
                    self._lines.popleft()

    def _give(self, line: Line) -> None:
        if not line.is_step or line.step > self._reached:
            self._service.log(line)

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


def identity(folder: RunFolder) -> str:
    """The id under which services know a run; created once and kept in the run folder."""
    with _claim:
        text = folder.read(TRACKING)
        if text is None:
            text = json.dumps({"id": uuid4().hex})
            folder.write(TRACKING, text)
    id_: str = json.loads(text)["id"]
    return id_


def deliver(lines: Sequence[Line], deliveries: Sequence[Delivery], state: State) -> None:
    """Gives some lines to services that nothing else is given to, and ends with them."""
    for delivery in deliveries:
        delivery.start()
        for line in lines:
            delivery.put(line)
    for delivery in deliveries:
        delivery.close(state)
