"""What every format offers: neighbouring samples of a shard as spans, and the records of a span.

The index is made of spans; `source.read_samples` makes samples of records.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cli_ray.data.images import Limits
from cli_ray.data.sample import BadDataError, Unread
from cli_ray.storage.files import Shard


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring samples of a shard, found without decoding any."""

    start: int
    """First byte (tar, JSON) or row (Parquet, Arrow)."""
    end: int
    """One past the last."""
    count: int
    """Samples, broken ones included."""
    broken: str = ""
    """Why the whole of it cannot be read; empty for most."""
    damage: Literal["none", "stretch", "cut"] = "none"
    """Whether the one sample that it counts as stands for more: for what the bytes from start to end held, or for all
    that a file held from there on before it was cut."""
    lost: int = 1
    """Samples that a damaged one stands for; the index knows by what is sound of the source."""


@dataclass(frozen=True, slots=True)
class Record:
    """One sample as a reader found it."""

    where: str
    """Position within the shard."""
    key: str
    """Its own name; may be empty, and need not be unique."""
    content: Mapping[str, Any] | BadDataError
    """The record, or why there is none."""
    unread: tuple[Unread, ...] = ()
    """What the reader passed over."""


class Reader(Protocol):
    """One file format. Both methods see the same samples in the same order, whatever the files hold."""

    suffixes: tuple[str, ...]
    """Endings of its files, lower case."""
    names_images: bool
    """Whether images are files of their own, beside its files or elsewhere."""

    def spans(self, shard: Shard, unit_samples: int) -> Iterator[Span]:
        """Cuts a shard into spans of at most `unit_samples`, in order."""
        ...

    def records(self, path: str, span: Span, limits: Limits) -> Iterator[Record]:
        """The `span.count` records of a span, in order. Members above the limits are not loaded."""
        ...
