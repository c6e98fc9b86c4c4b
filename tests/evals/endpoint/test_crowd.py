"""Questions go out at once, no more than allowed, and nobody waits for those that are left behind."""

import threading
from collections.abc import Iterator
from itertools import count

import pytest

from cli_ray.evals.endpoint.crowd import as_answered


def test_each_task_comes_back_with_its_result_or_error() -> None:
    def work(task: int) -> int:
        if task == 3:
            raise KeyError(task)
        return 10 * task

    found = dict(as_answered(work, range(6), threads=3))
    assert isinstance(found.pop(3), KeyError)
    assert found == {0: 0, 1: 10, 2: 20, 4: 40, 5: 50}
    assert list(as_answered(work, (), threads=3)) == []


def test_as_many_as_allowed_are_in_flight() -> None:
    together = threading.Barrier(4, timeout=10)  # breaks unless four are there at once
    assert len(list(as_answered(lambda task: together.wait(), range(8), threads=4))) == 8


def test_tasks_are_drawn_as_threads_are_free() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for task in count():
            drawn.append(task)
            yield task

    answers = as_answered(lambda task: task, tasks(), threads=2)
    next(answers)
    assert drawn == [0, 1]


def test_whoever_leaves_early_waits_for_nothing() -> None:
    never = threading.Event()

    def work(task: int) -> bool:
        return task == 0 or never.wait(60)

    def interrupted() -> None:
        for _ in as_answered(work, range(4), threads=2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    left = [thread for thread in threading.enumerate() if thread.name.startswith("ask-")]
    assert all(thread.daemon for thread in left)
    never.set()
