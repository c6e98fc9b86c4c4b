"""What a report is made of: sections of paragraphs, tables, figures and shown samples. Data alone; the page makes HTML.

The modules that read runs, sweeps and results make sections, and the page renders them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    left: int = 1
    """Columns aligned to the left; the others hold numbers."""


@dataclass(frozen=True)
class Figure:
    """A picture of numbers."""

    name: str
    """Of its file."""
    title: str
    svg: str
    alt: str
    """What it shows, in words."""
    table: Table
    """The data behind it, shown on demand."""


@dataclass(frozen=True)
class Card:
    """A shown sample."""

    title: str
    picture: bytes | None
    """WebP or PNG."""
    fields: Sequence[tuple[str, str]]
    tone: Literal["good", "bad", "plain"] = "plain"


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    name: str
    title: str
    parts: Sequence[str | Table | Figure | Sequence[Card]]
    """A text is a paragraph."""
