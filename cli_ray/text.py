"""What workers print."""

import sys


def say(line: str) -> None:
    """Writes a line to the worker's output. Ray Train replaces `print` by one that writes it twice."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
