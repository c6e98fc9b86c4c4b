"""SIGTERM, taken as Ctrl-C is, wherever a command is at that moment.

`commands/main` puts every command into `sigterm_interrupts`, and `cluster` each `ray.init` into `ray_connects`. While a
run trains, the supervisor takes signals instead (`train/health/supervisor.py`).
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_received: list[signal.Signals] = []


def received() -> signal.Signals | None:
    """The signal that asked this process to stop; None while none has."""
    return _received[0] if _received else None


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the main thread, which Ray's compiled parts let through; they turn any other
    exception of a handler into a SystemError. A second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ray_connects() -> Iterator[None]:
    """Around `ray.init`, which puts handlers of its own in place of ours: SIGTERM then leaves Python by SystemExit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()
    try:
        yield
    except SystemExit:
        _interrupt(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    if _received:
        os._exit(128 + number)
    _received.append(signal.Signals(number))
    raise KeyboardInterrupt
