"""What a check found."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's table. It holds no secret: of those only the names are told."""

    check: str
    """What was looked at, in a word."""
    level: Level
    what: str
    """What was found."""
    fix: str = ""
    """What to do about it; empty when all is well."""


def first_line(error: Exception) -> str:
    """What an error says, shortly; its kind when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
