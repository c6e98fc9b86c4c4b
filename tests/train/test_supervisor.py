"""Signals to the driver, with a stand-in for Ray Train."""

import os
import signal
import threading
from typing import Any

import pytest

from cli_ray.errors import StoppedError
from cli_ray.train.supervisor import Signals, supervise


def test_a_signal_asks_for_a_stop_and_the_exit_code_says_which() -> None:
    asked = threading.Event()
    before = signal.getsignal(signal.SIGTERM)

    def fit() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.wait(30)
        return {"step": 7, "stopped": "SIGTERM"}

    with pytest.raises(StoppedError, match="stopped at step 7 by SIGTERM after a checkpoint; the same") as stopped:
        supervise(fit, lambda reason: asked.set(), lambda: None)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_at_once() -> None:
    signals = Signals()
    signals.take(signal.SIGINT, None)
    with pytest.raises(StoppedError) as stopped:
        signals.take(signal.SIGINT, None)
    assert stopped.value.code == 130


def test_what_training_returns_or_raises_comes_through() -> None:
    assert supervise(lambda: {"step": 3}, print, lambda: None) == {"step": 3}
    with pytest.raises(ZeroDivisionError):
        supervise(lambda: {"step": 1 // 0}, print, lambda: None)
