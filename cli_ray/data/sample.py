"""A sample on its way: as every reader ends in it, left out as bad, and encoded for the model.

Nothing behind the readers knows the format that a sample came from.

Legend: T tokens, I images, P tiles, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cli_ray.text import printable

IMAGE_MARK = "<image>"
"""Stands in the text of a message where an image belongs, once per image."""

LITERAL_MARK = "\ufdd0"
"""Stands in the text of a message for the characters `<image>` where no image belongs. A code point that Unicode
reserves for such use within programs; a text that holds it is refused."""

IGNORED = -100
"""Label of a token that is not supervised."""

Role = Literal["system", "user", "assistant"]

Reason = Literal[
    "broken image",
    "broken record",
    "broken shard",
    "chat template",
    "forbidden path",
    "image marks",
    "image too large",
    "messages",
    "missing image",
    "not supported",
    "nothing supervised",
    "too long",
    "wrong columns",
]

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("images", pa.list_(pa.binary())),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("source", pa.string()),
    ]
)
"""Arrow schema of a stored `Sample`; a Parquet file in it needs no conversion."""


def clean(text: str, limit: int) -> str:
    """Text out of a dataset, made fit for logs, terminals and Arrow: short and on one line.

    What cannot be seen (line ends, terminal codes, marks that turn the direction of text, and the halves of code
    points that JSON allows) is escaped as in Python.
    """
    return printable(text[:limit])


class BadDataError(Exception):
    """One sample cannot be used. Never stops a run by itself: it becomes a `BadSample`."""

    def __init__(self, reason: Reason, detail: str, samples: int = 1) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = clean(detail, 500)
        self.samples = samples


class Unread(NamedTuple):
    """Something of a sample that was not read, being of no consequence."""

    kind: str
    """`field` or `column` of the record, `message field`, `part field`, `member` of a tar."""
    name: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    """Its text, with a mark for each image."""
    supervised: bool = True
    """Whether the reply is learnt. One that is not stays in the context of those that follow."""
    parts: tuple[str, ...] = ()
    """The texts and marks of a message that came in typed parts, else empty; `content` has them on lines."""

    @classmethod
    def of_parts(cls, role: Role, parts: Sequence[str], supervised: bool = True) -> Self:
        """A message of texts and image marks, each a part of its own."""
        return cls(role, "\n".join(parts), supervised, tuple(parts))


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation about images."""

    id: str
    """Shard, number within it and the sample's own key; unique within the source."""
    images: list[bytes]
    """Encoded images (JPEG, PNG, ...), in the order of their marks."""
    messages: list[Message]
    source: str
    """Label of the source, see `SourceConfig.label`."""
    where: str
    """Shard and position in it."""
    unread: tuple[Unread, ...] = ()
    """What of the record was not read."""
    remarks: tuple[str, ...] = ()
    """What was read otherwise than it stands, a kind each."""
    read: tuple[str, ...] = field(default=(), compare=False)
    """Fields of the record that were read, for `data show` alone."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that was left out, and why. It leaves a hole in its batch."""

    id: str
    source: str
    where: str
    """Shard and position in it."""
    reason: Reason
    """The kind of fault, for counting."""
    detail: str
    """What exactly was wrong, for people."""
    samples: int = 1
    """Samples that are lost with it: above 1 for a shard, a stretch of one or a record that swallowed others."""
    unread: tuple[Unread, ...] = field(default=(), compare=False)
    """What of the record was not read, for `data check` and `data show` alone."""
    read: tuple[str, ...] = field(default=(), compare=False)
    """Fields of the record that were read, for `data show` alone."""

    def to_dict(self) -> dict[str, str | int]:
        """The line of the quarantine."""
        return {name: value for name, value in asdict(self).items() if name not in ("unread", "read")}


class Shrunk(NamedTuple):
    """An image that takes fewer tiles than it would without a budget."""

    size: tuple[int, int]
    """Height and width, pixels."""
    full_tokens: int
    """Tokens that it would take."""
    tokens: int
    """Tokens that it takes."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A tokenised sample with its resized images."""

    id: str
    source: str
    input_ids: NDArray[np.int32]
    """[T], image tokens expanded."""
    labels: NDArray[np.int32]
    """[T], -100 where nothing is supervised."""
    images: list[NDArray[np.uint8]]
    """[P, C, H, W] of each image, not normalised; P is 1 for models without tiles."""
    sizes: NDArray[np.int32]
    """[I, 2] height and width of the images before they are resized, pixels; of one that was shrunk, the size by which
    the model finds its tiles."""
    turns: NDArray[np.int32]
    """[T], how many replies have begun at each token, supervised or not."""
    shrunk: Shrunk | None = None
    """For `data check` alone: the sample's only image, where it takes fewer tiles than it would without a budget."""

    @property
    def num_tiles(self) -> int:
        """Squares that go through the vision tower."""
        return sum(map(len, self.images))

    @property
    def num_supervised(self) -> int:
        """Tokens that carry loss. The first cannot: nothing predicts it."""
        return int((self.labels[1:] != IGNORED).sum())


Row = Encoded | BadSample
