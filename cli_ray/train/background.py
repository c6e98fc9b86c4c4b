"""Storage work beside training: in order, one after the other, tried again when the storage fails."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

ATTEMPTS = 3
PAUSE_S = 1.0
"""Before the second attempt; doubled before each further one."""


class Background:
    """One thread of this rank. Storage faults are kept for whoever asks; other errors are raised to them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._work: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether the newest piece of work has still to end."""
        return self._work is not None and not self._work.done()

    @property
    def fault(self) -> OSError | None:
        """What the newest piece of work failed with in its last attempt; waits for its end."""
        if self._work is None:
            return None
        error = self._work.exception()
        if error is not None and not isinstance(error, OSError):
            raise error
        return error

    def forget(self) -> None:
        """Puts the newest piece of work out of mind, its fault having been told."""
        self._work = None

    def start(self, work: Callable[[], None]) -> None:
        """Has work done after all that was given before; it may run several times, so it must begin anew each time."""
        self._work = self._pool.submit(partial(_persistent(), work))

    def close(self) -> None:
        """Leaves unstarted work undone and does not wait for the rest."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _persistent() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(PAUSE_S),
        reraise=True,
    )
