"""What gives the replies of an evaluation: replicas on a cluster (`replicas`), or an endpoint (`api`).

`cli_ray.evals.run` chooses one, and `Replies` has it work through what is missing.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from cli_ray.evals.items.location import Location, Part
from cli_ray.evals.items.survey import Entry
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.progress import Progress

OnRecords = Callable[[list[ReplyRecord]], None]
"""Takes new records, before anything else is done about them."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The items of a benchmark that have no reply yet, in the order of its split."""

    location: Location
    entries: list[Entry]

    def by_part(self) -> Iterator[tuple[Part, list[Entry]]]:
        """The parts of the location that hold some of the items, and those."""
        firsts = [part.first for part in self.location.parts]
        for index, entries in groupby(self.entries, lambda entry: bisect_right(firsts, entry.row) - 1):
            yield self.location.parts[index], [*entries]


class Backend(Protocol):
    """A model and the way to its replies."""

    @property
    def model_hash(self) -> str:
        """Of all by which the model is known; records of another one are not taken for its own."""

    def decoding(self, max_new_tokens: int) -> str:
        """How replies are decoded, as the keys of records hold it."""

    def connect(self) -> None:
        """Reaches what the work is done by.

        Raises:
            UserError: it cannot be reached.
        """

    def scan(self, location: Location, decoded: str) -> list[Entry]:
        """The items of a benchmark.

        Raises:
            UserError: rows cannot be read.
        """

    def generate(self, missing: Iterable[Missing], on_records: OnRecords, progress: Progress) -> None:
        """Gives every item a record.

        Args:
            missing: each drawn before its items are asked.
            on_records: called in this thread.
            progress: is told what the work is done by.

        Raises:
            UserError: it cannot, or the model gives no replies.
        """
