"""Text for people: a line of a worker's output, a table, an error in one line. Called by every room that prints."""

import sys
from collections.abc import Sequence

NOTHING = "-"
"""A cell of a table without a value."""


def say(line: str) -> None:
    """Writes a line to the worker's output. Ray Train replaces `print` by one that writes it twice."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def columns(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Indented lines of two columns, the second of which begins where the longest first one has ended."""
    width = max(len(first) for first, _ in lines)
    return [f"  {first.ljust(width)}  {second}" for first, second in lines]


def grid(head: Sequence[str], body: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table with padded cells.

    Args:
        left: columns aligned to the left; the others hold numbers.
    """
    widths = [max(3, *(len(line[i]) for line in (head, *body))) for i in range(len(head))]

    def joined(cells: Sequence[str]) -> str:
        padded = (cell.ljust(widths[i]) if i < left else cell.rjust(widths[i]) for i, cell in enumerate(cells))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(
        [joined(head), joined(rule), *(joined([cell.replace("|", "/") for cell in line]) for line in body)]
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message; the name of its class when the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def last_line(error: object) -> str:
    """The last line of an error's message, which is the error itself where a traceback precedes it.

    Args:
        error: an error, or the text of one; of an error without a message, the name of its class is returned.
    """
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
