"""`cli-ray watch RUN|SWEEP|RESULTS`: what something that runs elsewhere does at the moment, from its files alone."""

import sys
import time
from typing import Annotated

import tyro
from pydantic import Field

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments


class WatchArguments(Section):
    """Shows how far a run, a sweep or an evaluation is, wherever it runs: a table that is drawn anew every few seconds,
    or a line for each change where standard output is no terminal. Ends when that has ended."""

    folder: Annotated[Uri, tyro.conf.Positional]
    """Run folder, folder of a sweep or output of `cli-ray eval`: a path or a pyarrow URI."""
    once: bool = False
    """Show it once and end."""
    every: float = Field(default=5.0, gt=0)
    """Seconds between two looks."""


def main(words: list[str]) -> None:
    """Looks until the end."""
    settings = arguments(WatchArguments, words, "cli-ray watch")

    from rich.console import Console
    from rich.live import Live

    from cli_ray.console import is_terminal
    from cli_ray.text import say
    from cli_ray.watch.looks import Watch

    watch = Watch(settings.folder)
    look = watch.look()
    if settings.once:
        Console(width=None if is_terminal(sys.stdout) else 160).print(look.view)
    elif is_terminal(sys.stdout):
        with Live(look.view, auto_refresh=False) as live:
            while not look.is_over:
                time.sleep(settings.every)
                look = watch.look()
                live.update(look.view, refresh=True)
    else:
        say(look.line)
        while not look.is_over:
            time.sleep(settings.every)
            before, look = look, watch.look()
            if look.line != before.line:
                say(look.line)
