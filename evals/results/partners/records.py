"""What another tool recorded, in one form for all tools: `lmms_eval` and `vlmevalkit` read it, `matching` and `scoring`
use it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cli_ray.errors import UserError


class RecordsError(UserError):
    """Records of another tool that cannot be read, or not be compared."""


@dataclass(frozen=True, slots=True)
class TheirRecord:
    """One item of another tool."""

    number: str
    """What it calls the item: the row of the split, or an index of its own."""
    question: str
    """As asked, with the tool's instructions, where `Partner.holds_prompts`; else the bare question."""
    gold: str
    """The right answer in the tool's form; empty where it has none."""
    reply: str
    options: tuple[str, ...] = ()
    """Texts of the options that are not part of the question."""
    failed: bool = False
    """Whether the reply is the tool's message that it got none."""
    fault: str = ""
    """Why the reply cannot be compared; empty if it can."""


@dataclass(frozen=True, slots=True)
class Partner:
    """The evaluation of one model by another tool."""

    tool: str
    model: str
    place: str
    """File or folder, as the user named it."""
    files: Mapping[str, str]
    """By benchmark."""
    read: Callable[[str], Iterator[TheirRecord]]
    """The records of a file.

    Raises:
        RecordsError: it is no such file, or cut.
    """
    holds_prompts: bool
    """Whether records say what was asked to the letter."""
    notes: tuple[str, ...] = ()
    """What of the folder is left out."""
