"""Many questions at once, from threads that nobody has to wait for. The judge stage and the API backend ask by it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def as_answered(
    work: Callable[[Task], Result], tasks: Iterable[Task], threads: int
) -> Iterator[tuple[Task, Result | Exception]]:
    """Each task with what `work` made of it, in the order in which they are done.

    Tasks are drawn in the caller's thread, one for each thread that is free. Whoever leaves the loop early leaves what
    is in flight behind: the threads are daemons, so that an interrupted command ends at once.

    Args:
        work: called in the threads.
        tasks: may be endless, and may end early on what the caller has seen.
        threads: at most.
    """
    todo: SimpleQueue[Task | None] = SimpleQueue()
    done: SimpleQueue[tuple[Task, Result | Exception]] = SimpleQueue()

    def answer() -> None:
        while (task := todo.get()) is not None:
            try:
                done.put((task, work(task)))
            except Exception as error:  # the caller decides what it means
                done.put((task, error))

    started = in_flight = 0
    try:
        for task in tasks:
            if started < threads:
                threading.Thread(target=answer, name=f"ask-{started}", daemon=True).start()
                started += 1
            todo.put(task)
            in_flight += 1
            if in_flight == threads:
                yield done.get()
                in_flight -= 1
        for _ in range(in_flight):
            yield done.get()
    finally:
        for _ in range(started):
            todo.put(None)
