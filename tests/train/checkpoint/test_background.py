import errno
import threading

import pytest

from cli_ray.train.checkpoint import write
from cli_ray.train.checkpoint.write import ATTEMPTS, Background

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PAUSE_S", 0.0)


class Work:
    """Fails a number of times, then succeeds."""

    def __init__(self, failures: int, error: Exception = FULL) -> None:
        self.failures, self.error, self.runs = failures, error, 0

    def __call__(self) -> None:
        self.runs += 1
        if self.runs <= self.failures:
            raise self.error


@pytest.mark.parametrize(("failures", "runs", "fault"), [(0, 1, None), (ATTEMPTS - 1, ATTEMPTS, None), (9, 3, FULL)])
def test_storage_faults_are_tried_again_and_then_kept(failures: int, runs: int, fault: OSError | None) -> None:
    one, work = Background(), Work(failures)
    assert one.fault is None
    one.start(work)
    assert one.fault is fault
    assert (work.runs, one.busy) == (runs, False)
    one.forget()
    assert one.fault is None


def test_other_errors_are_no_storage_faults() -> None:
    one = Background()
    one.start(work := Work(1, TypeError("a mistake")))
    with pytest.raises(TypeError, match="a mistake"):
        _ = one.fault
    assert work.runs == 1


def test_work_is_done_in_order_while_the_caller_goes_on() -> None:
    one, gate, done = Background(), threading.Event(), list[str]()

    def first() -> None:
        gate.wait()
        done.append("first")

    one.start(first)
    one.start(lambda: done.append("second"))
    assert (one.busy, done) == (True, [])
    gate.set()
    assert one.fault is None
    assert done == ["first", "second"]
