"""Text for people: a line with its time, a table, an error in one line. Called by every room that prints."""

import re
import sys
import time
from collections.abc import Sequence

NOTHING = "-"
"""A cell of a table without a value."""
STAMP = re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d ")
"""How each line of `say` begins: `11-27 14:23:19 `, in local time."""


def say(text: str) -> None:
    """Writes what happens to standard output, each line with the time. Ray Train replaces `print` by one that writes it
    twice."""
    sys.stdout.write(stamped(text))
    sys.stdout.flush()


def stamped(text: str) -> str:
    """The lines of a text, each with the time before it."""
    now = time.strftime("%m-%d %H:%M:%S")
    return "".join(f"{now} {printable(line)}\n" for line in text.splitlines())


def printable(line: str) -> str:
    """A line whose control characters are written out: names and errors from elsewhere must not steer a terminal."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def duration(seconds: float) -> str:
    """A span of time in its two largest units, such as `2 h 05 min`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest:02} s"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02} h" if days else f"{hours} h {minutes:02} min"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 shard`, `2,000 shards`.

    Args:
        plural: where it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


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
