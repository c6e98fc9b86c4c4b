"""`cli-ray runs [DIR]`: the runs, sweeps and results below a folder, with what became of each."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import tyro

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments

if TYPE_CHECKING:
    from cli_ray.watch.listing import Entry

LONGEST = 160
"""Characters of a reason that are shown."""


class RunsArguments(Section):
    """Lists runs, sweeps and results below a folder, newest first: state, how far they are, losses and best score."""

    folder: Annotated[Uri, tyro.conf.Positional] = "runs"
    """A path or a pyarrow URI."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of the table, with the whole reasons."""


def main(words: list[str]) -> None:
    """Prints the list."""
    settings = arguments(RunsArguments, words, "cli-ray runs")

    from cli_ray.watch.listing import list_folder

    entries = list_folder(settings.folder)
    if settings.as_json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
    elif entries:
        print(table(entries))
    else:
        print(f"no run, sweep or results below {settings.folder}")


def table(entries: "list[Entry]") -> str:
    """A Markdown table, and the reasons below it."""
    from cli_ray.text import NOTHING, grid, printable
    from cli_ray.watch.views import ago, number

    head = ["name", "kind", "state", "done", "loss", "validation loss", "best score", "last sign"]
    body = [
        [
            printable(entry.name),
            entry.kind,
            entry.state,
            NOTHING
            if entry.step is None
            else f"{entry.step:,}/{NOTHING if entry.total is None else f'{entry.total:,}'}",
            number(entry.loss),
            number(entry.validation_loss),
            printable(entry.score) or NOTHING,
            ago(entry.time) if entry.time else NOTHING,
        ]
        for entry in entries
    ]
    reasons = [
        f"{entry.name} {entry.state}: {' '.join(entry.reason.split())[:LONGEST]}" for entry in entries if entry.reason
    ]
    return "\n".join([grid(head, body, left=3), *map(printable, reasons)])
