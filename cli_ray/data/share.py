"""One rank's share of an optimiser step: the samples that the order gives it, before they are collated.

`stream` hands shares out. The engine takes the passes of a step from one, as micro-batches or as packs; callbacks read
what the step took.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cli_ray.data.collate import MicroBatch, collate, pack
from cli_ray.data.cost import SampleCost
from cli_ray.data.packing import level, plan
from cli_ray.data.sample import BadSample, Encoded, Row


@dataclass(frozen=True)
class Cut:
    """The samples and holes of one micro-batch of the order; none where a lane has ended."""

    rows: Sequence[Row]
    place: tuple[int, int]
    """Lane, and number among the micro-batches that the step takes of it."""

    @property
    def good(self) -> list[Encoded]:
        """The samples that are trained on."""
        return [row for row in self.rows if isinstance(row, Encoded)]


@dataclass(frozen=True)
class Share:
    """What a rank takes in one step."""

    cuts: Sequence[Cut] = ()
    pad_token_id: int = 0
    tiled: bool = False
    """See `collate`."""
    cost: SampleCost = field(default_factory=SampleCost)
    """Of samples, by which packs are levelled."""

    @cached_property
    def good(self) -> list[Encoded]:
        """The samples that are trained on, in the order of the stream."""
        return [row for cut in self.cuts for row in cut.good]

    @property
    def bad(self) -> list[BadSample]:
        """The samples that should have stood here."""
        return [row for cut in self.cuts for row in cut.rows if isinstance(row, BadSample)]

    @property
    def ids(self) -> list[str]:
        """Of the samples that are trained on."""
        return [row.id for row in self.good]

    @property
    def sources(self) -> list[str]:
        """Source label of each of them."""
        return [row.source for row in self.good]

    @property
    def num_bad(self) -> int:
        """Samples that are lost with the bad ones, see `BadSample.samples`."""
        return sum(sample.samples for sample in self.bad)

    @property
    def num_shrunk(self) -> int:
        """Images that the budget shrinks."""
        return sum(row.shrunk is not None for row in self.good)

    @property
    def num_supervised(self) -> int:
        """Tokens that carry loss."""
        return sum(row.num_supervised for row in self.good)

    @property
    def num_tokens(self) -> int:
        """Tokens of the samples, those of images included."""
        return sum(self._lengths)

    def micro_batches(self) -> Iterator[MicroBatch]:
        """The micro-batches as the order cut them, as many on every rank; each is collated when it is asked for."""
        for cut in self.cuts:
            yield collate(cut.good, self.pad_token_id, self.tiled, cut.place)

    def packs_needed(self, limit: int) -> int:
        """Packs of at most `limit` tokens that the samples need."""
        return plan(self._lengths, limit)

    def packs(self, limit: int, count: int, rank: int) -> Iterator[MicroBatch]:
        """The samples laid into packs of like cost; each is collated when it is asked for.

        Args:
            limit: most tokens of a pack.
            count: packs, at least as many as are needed here.
            rank: of the worker.
        """
        costs = list(map(self.cost, self.good))
        for number, samples in enumerate(level(self._lengths, costs, limit, count)):
            yield pack([self.good[i] for i in samples], self.pad_token_id, self.tiled, (rank, number))

    @cached_property
    def _lengths(self) -> list[int]:
        return [len(row.input_ids) for row in self.good]
