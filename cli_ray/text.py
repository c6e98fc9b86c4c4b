"""What people read in terminals and logs: lines of workers, tables, and errors in one line.

Every room uses it, so it imports nothing but the standard library.
"""

import sys
from collections.abc import Sequence


def say(line: str) -> None:
    """Writes a line to the worker's output. Ray Train replaces `print` by one that writes it twice."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def grid(head: Sequence[str], body: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table with padded cells.

    Args:
        head: name of each column.
        body: cells of each row.
        left: columns aligned to the left; the others hold numbers.
    """
    widths = [max(3, *(len(row[i]) for row in (head, *body))) for i in range(len(head))]

    def joined(cells: Sequence[str]) -> str:
        padded = (cell.ljust(widths[i]) if i < left else cell.rjust(widths[i]) for i, cell in enumerate(cells))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([joined(head), joined(rule), *(joined([cell.replace("|", "/") for cell in row]) for row in body)])


def first_line(error: Exception) -> str:
    """What an error says, shortly; its kind when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def last_line(error: object) -> str:
    """The end of what an error says that carries a traceback, which is the error itself; its kind when it says nothing.

    Args:
        error: or the text of one.
    """
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
