"""Which samples are generated together and in what order. Pure: the pool and its simulation share it.

`plan` cuts a benchmark into batches; a `Queue` hands out those of all benchmarks.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import sqrt
from typing import TYPE_CHECKING

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.evals.generation.job import Batch
from cli_ray.evals.generation.lengths import ImageTokens, text_tokens

if TYPE_CHECKING:
    from cli_ray.evals.items.location import Part
    from cli_ray.evals.items.survey import Entry

STEP_TOKENS = 512
"""A decoding step of a whole batch takes about as long as the prefill of so many tokens (7B, one H100)."""
ALIKE = 0.9
"""Share of the longest of some prompts about one image that another has at least to be generated with them: what is
saved in the tower would be lost in padding."""
PATIENCE = 2
"""Replicas that a batch may take down before it is halved, to find the sample that does it."""


def expected_reply(max_new_tokens: int) -> float:
    """Tokens a reply is expected to have before any was seen. Where much is allowed, more is expected, so that such
    benchmarks come first and what they really take is learnt early."""
    return min(max_new_tokens, 8 * sqrt(max_new_tokens))


def plan(
    benchmark: str,
    max_new_tokens: int,
    parts: Sequence["Part"],
    entries: Iterable["Entry"],
    replica: ReplicaConfig,
    images: ImageTokens,
) -> list[Batch]:
    """Cuts the samples of a benchmark into batches of alike length, each within one part; those about one image stand
    side by side.

    A batch has at most `replica.batch_size` samples, and at most `replica.batch_tokens` tokens when all are padded to
    the longest prompt and the longest reply; a single longer sample is a batch.

    Args:
        benchmark: its name.
        max_new_tokens: of its replies.
        parts: of its location, by the number of their first row.
        entries: the samples to generate, in any order.
        replica: limits of a batch.
        images: how the model counts images.
    """
    firsts = [part.first for part in parts]
    of_part: dict[int, list[Entry]] = {}
    for entry in entries:
        of_part.setdefault(bisect_right(firsts, entry.row) - 1, []).append(entry)
    return [
        Batch(benchmark, parts[index], tuple(group), max_new_tokens, _cost(longest, len(group), max_new_tokens))
        for index in sorted(of_part)
        for longest, group in _groups(of_part[index], max_new_tokens, replica, images)
    ]


def _groups(
    entries: list["Entry"], max_new_tokens: int, replica: ReplicaConfig, images: ImageTokens
) -> Iterator[tuple[int, list["Entry"]]]:
    """Groups of alike prompts, and the tokens of the longest prompt of each."""
    lengths = {entry.row: images(entry.sizes) + text_tokens(entry.prompt_chars) for entry in entries}
    group: list[Entry] = []
    longest = 0
    for entry in _side_by_side(entries, lengths):
        longer = max(longest, lengths[entry.row])
        full = len(group) == replica.batch_size
        if group and (full or (len(group) + 1) * (longer + max_new_tokens) > replica.batch_tokens):
            yield longest, _sorted(group, lengths)
            group, longer = [], lengths[entry.row]
        group.append(entry)
        longest = longer
    if group:
        yield longest, _sorted(group, lengths)


def _sorted(entries: Iterable["Entry"], lengths: Mapping[int, int]) -> list["Entry"]:
    """The longest prompt first."""
    return sorted(entries, key=lambda entry: (-lengths[entry.row], entry.row))


def _side_by_side(entries: Iterable["Entry"], lengths: Mapping[int, int]) -> Iterator["Entry"]:
    """The longest prompt first, each followed by those that ask about the same images and are about as long."""
    runs: list[list[Entry]] = []
    for entry in sorted(_sorted(entries, lengths), key=lambda entry: entry.image_hash):
        first = runs[-1][0] if runs else entry
        if runs and entry.image_hash == first.image_hash and lengths[entry.row] >= ALIKE * lengths[first.row]:
            runs[-1].append(entry)
        else:
            runs.append([entry])
    runs.sort(key=lambda run: (-lengths[run[0].row], run[0].row))
    return (entry for run in runs for entry in run)


def _cost(prompt_tokens: int, samples: int, max_new_tokens: int) -> float:
    return prompt_tokens * samples + STEP_TOKENS * expected_reply(max_new_tokens)


@dataclass(slots=True)
class _Course:
    """What is left of a benchmark and how fast it went so far."""

    waiting: list[Batch]
    """The most work last."""
    remaining: int
    """Samples without a record."""
    cost: float = 0.0
    seconds: float = 0.0


class Queue:
    """Hands out batches, those that should take longest first, over all benchmarks together.

    Seconds per unit of cost are learnt for each benchmark as batches finish. A batch lost with its replica comes back:
    whole at first, then halved; a sample that is alone with its losses and has `attempts` of them is given up.
    Such suspects are run by replicas that hold nothing else, so that no other batch is lost with them.

    Args:
        batches: all of them.
        attempts: losses after which a single sample is given up.
    """

    def __init__(self, batches: Iterable[Batch], attempts: int) -> None:
        self._attempts = attempts
        self._courses: dict[str, _Course] = {}
        self._suspects: deque[Batch] = deque()
        self._running: dict[int, tuple[Batch, set[str]]] = {}
        self._tickets = count()
        for batch in batches:
            course = self._courses.setdefault(batch.benchmark, _Course([], 0))
            course.waiting.append(batch)
            course.remaining += len(batch.entries)
        for course in self._courses.values():
            course.waiting.sort(key=lambda batch: batch.cost)
        self._waiting = sum(len(course.waiting) for course in self._courses.values())

    @property
    def waiting(self) -> int:
        """Batches that nobody holds."""
        return self._waiting + len(self._suspects)

    @property
    def done(self) -> bool:
        """Whether every sample has its record."""
        return not self.waiting and not self._running

    def remaining(self, benchmark: str) -> int:
        """Samples of a benchmark that have no record yet; 0 once it is complete."""
        course = self._courses.get(benchmark)
        return course.remaining if course else 0

    def take(self, held: Sequence[int] = (), replicas: int = 1) -> tuple[int, Batch] | None:
        """A ticket and the batch for a replica; None when it should not get one now.

        Args:
            held: tickets of the batches that the replica has in flight already.
            replicas: how many there are; the last batches are left to those that have nothing to do.
        """
        if any(self._running[ticket][0].attempts for ticket in held):
            return None
        if held and (self._suspects or self._waiting <= replicas):
            return None
        batch = self._suspects.popleft() if self._suspects else self._longest()
        if batch is None:
            return None
        ticket = next(self._tickets)
        self._running[ticket] = batch, set()
        return ticket, batch

    def recorded(self, ticket: int, keys: Iterable[str]) -> None:
        """Notes samples of a batch, by their keys, that have a record now."""
        batch, done = self._running[ticket]
        new = set(keys) - done
        done |= new
        self._courses[batch.benchmark].remaining -= len(new)

    def finished(self, ticket: int, seconds: float) -> Batch | None:
        """Notes that a batch came to its end, and how long it took; what lacks a record comes back, as after a loss.

        Returns:
            As `lost`.
        """
        batch, done = self._running[ticket]
        if len(done) < len(batch.entries):
            return self.lost(ticket)
        del self._running[ticket]
        course = self._courses[batch.benchmark]
        course.cost += batch.cost
        course.seconds += seconds
        return None

    def lost(self, ticket: int) -> Batch | None:
        """Takes back a batch that was lost with its replica, but for samples that have a record.

        Returns:
            A batch of the one sample that is given up, with all its attempts. It counts as recorded.
        """
        batch, done = self._running.pop(ticket)
        left = tuple(entry for entry in batch.entries if entry.key not in done)
        attempts = batch.attempts + 1
        if len(left) == 1 and attempts >= self._attempts:
            self._courses[batch.benchmark].remaining -= 1
            return replace(batch, entries=left, attempts=attempts)
        middle = (len(left) + 1) // 2 if attempts >= PATIENCE else len(left)
        for entries in (left[:middle], left[middle:]):
            if entries:
                share = batch.cost * len(entries) / len(batch.entries)
                self._suspects.append(replace(batch, entries=entries, attempts=attempts, cost=share))
        return None

    def _longest(self) -> Batch | None:
        courses = [course for course in self._courses.values() if course.waiting]
        if not courses:
            return None
        cost = sum(course.cost for course in self._courses.values())
        overall = sum(course.seconds for course in self._courses.values()) / cost if cost else 1.0

        def expected(course: _Course) -> float:
            rate = course.seconds / course.cost if course.cost else overall
            return rate * course.waiting[-1].cost

        self._waiting -= 1
        return max(courses, key=expected).waiting.pop()
