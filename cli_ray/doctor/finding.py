"""What a check found. Made by every check of the doctor, printed by `cli-ray doctor`."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. It holds no secret, only names of them."""

    check: str
    """What was looked at, in a word."""
    level: Level
    what: str
    """What was found."""
    fix: str = ""
    """What to do about it; empty when all is well."""
