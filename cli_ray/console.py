"""The console: whether there is a terminal, live views below what is printed, and how loud libraries may be.

Called by the verbs and by the processes of runs and evaluations; torch-free and ray-free.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.progress import Progress

VERBOSE = "CLI_RAY_VERBOSE"
"""Environment variable that `--verbose` sets, in the workers of a cluster too."""
DRAW_S = 1.0
"""Seconds between two drawings of a live view at least."""
SHARE = 0.05
"""Of the time that drawing may take: files of a long run take a while to read."""


def is_terminal(stream: TextIO) -> bool:
    """Whether live views and progress bars may be drawn on a stream."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def is_verbose() -> bool:
    """Whether all that libraries say is to be shown."""
    return bool(os.environ.get(VERBOSE))


def quiet_warnings() -> None:
    """Keeps warnings that are meant for programmers out of this process' output."""
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)


@contextmanager
def muted() -> Iterator[None]:
    """Within, what a library prints is left out, unless all is to be shown."""
    with ExitStack() as stack:
        if not is_verbose():
            stack.enter_context(redirect_stdout(StringIO()))
            stack.enter_context(redirect_stderr(StringIO()))
        yield


def progress_bar() -> "Progress":
    """A bar on standard error with what is done, the time taken and the time left; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("taken,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(file=sys.stderr),
        disable=not is_terminal(sys.stderr),
    )


@contextmanager
def live_view(draw: Callable[[], "RenderableType"]) -> Iterator[None]:
    """Within, a view stays below the lines that are printed, where standard output is a terminal.

    It never ends or delays what it shows: it is drawn by a thread of its own, and what cannot be drawn is left out.

    Args:
        draw: what to show at the moment; may read files.
    """
    if not is_terminal(sys.stdout):
        yield
        return
    from rich.live import Live

    picture, over = _Picture(), threading.Event()

    def redraw() -> None:
        pause_s = 0.0
        while not over.wait(pause_s):
            begun = time.monotonic()
            with suppress(Exception):  # the last picture stays, as while a folder is not there yet
                picture.shown = draw()
            pause_s = max(DRAW_S, (time.monotonic() - begun) / SHARE)

    with Live(picture, refresh_per_second=2, transient=True) as live:
        live.console.show_cursor()  # a process that is killed must not leave its terminal without
        threading.Thread(target=redraw, name="live view", daemon=True).start()
        try:
            yield
        finally:
            over.set()


class _Picture:
    """What a live view shows; nothing where it cannot be rendered."""

    shown: "RenderableType" = ""

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        try:
            yield from list(console.render(self.shown, options))
        except Exception:  # a fault of the view is none of what it shows
            return
