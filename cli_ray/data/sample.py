"""The one row schema: every reader ends in it, and nothing downstream knows the format it came from."""

from dataclasses import asdict, dataclass
from typing import Literal

import pyarrow as pa

IMAGE_MARK = "<image>"
"""Stands in the text of a message where an image belongs, once per image."""

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
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:limit])


class BadDataError(Exception):
    """One sample cannot be used. Never stops a run by itself: it becomes a `BadSample`."""

    def __init__(self, reason: Reason, detail: str, samples: int = 1) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = clean(detail, 500)
        self.samples = samples


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


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

    def to_dict(self) -> dict[str, str | int]:
        """The line of the quarantine."""
        return asdict(self)
