"""The driver while its ranks train: it waits for them, and hands them the wish of a signal to stop."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from cli_ray.errors import StoppedError

POLL_S = 0.25
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Takes SIGTERM and SIGINT inside its `with`, where Python allows it: in the main thread."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self.take) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal, which is acted on outside of the handler.

        Raises:
            StoppedError: it is the second one.
        """
        if self.first is not None:
            raise StoppedError("ended at once by a second signal", number)
        self.first = signal.Signals(number)


def supervise(fit: Callable[[], dict[str, Any]], stop: Callable[[str], object], check: Callable[[], None]) -> Any:
    """Runs `fit` in a thread and hands it a stop when a signal comes.

    Args:
        fit: trains and returns the summary.
        stop: asks the ranks for a checkpoint and their return, for a reason.
        check: raises when this driver may train no longer.

    Raises:
        StoppedError: a second signal came.
    """
    summaries: list[dict[str, Any]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            summaries.append(fit())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="fit", daemon=True)
    with Signals() as signals:
        thread.start()
        told = False
        while thread.is_alive():
            thread.join(POLL_S)
            check()
            if signals.first and not told:
                told = True
                print("stopping after a checkpoint; a second Ctrl-C ends at once", flush=True)
                stop(signals.first.name)
    if errors:
        raise errors[0]
    summary = summaries[0]
    if summary.get("stopped") and signals.first:
        raise StoppedError(
            f"stopped at step {summary['step']} by {signals.first.name} after a checkpoint; the same command goes on",
            signals.first,
        )
    return summary
