"""Processes that tests start and end."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def descendants(parents: Iterable[int]) -> list[int]:
    """Ids of all living processes that came of these."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    below, left = [], list(parents)
    while left:
        more = children.get(left.pop(), [])
        below += more
        left += more
    return below
