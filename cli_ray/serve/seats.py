"""How many replies are being asked for. `api` counts each request before it reads it, so that a crowd takes neither
memory nor the replicas' time."""

from collections.abc import Iterator
from contextlib import contextmanager

from cli_ray.serve.refusal import RETRY_AFTER, RefusalError


class Seats:
    """Places for so many replies at once.

    Args:
        total: places.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0

    @contextmanager
    def hold(self, count: int = 1) -> Iterator[None]:
        """Within, so many places are taken.

        Raises:
            RefusalError: they are not free (429).
        """
        if self.taken + count > self.total:
            full = f"{self.taken} replies are being made of {self.total} at most, try again"
            raise RefusalError(429, full, code="queue_full", headers=RETRY_AFTER)
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count
