"""`cli-ray data verify RUN`: whether a run trained on every sample as often as it should, by its ledger."""

import sys
from typing import TYPE_CHECKING, Annotated

import tyro

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments

if TYPE_CHECKING:
    from rich.table import Table

    from cli_ray.data.verify import EpochCount, Verification

SHOWN = 20
"""Samples of each kind and epoch that are listed without --all."""


class DataVerifyArguments(Section):
    """Compares what a run recorded of each step with the order of its data, up to its newest checkpoint."""

    run: Annotated[Uri, tyro.conf.Positional]
    """The run folder: a path or a pyarrow URI."""
    all: bool = False
    """List every sample that is wrong, not the first 20 of each kind and epoch."""


def main(words: list[str]) -> None:
    """Prints a table, what was lost with others, and what is wrong; exits with 1 when anything is."""
    settings = arguments(DataVerifyArguments, words, "cli-ray data verify")

    from rich.console import Console

    from cli_ray.train.ledger_check import verification

    result = verification(settings.run, None if settings.all else SHOWN)
    console = Console(soft_wrap=True)
    console.print(_table(result.epochs))
    lost = _lost(result)
    for line in lost:
        print(line)
    if result.is_right:
        console.print("no sample twice, none missing" if not lost else "no sample twice, no other missing")
        return
    for line in _lines(result, settings.all):
        print(line)
    sys.exit(1)


def _table(epochs: "list[EpochCount]") -> "Table":
    from rich.table import Table

    names = ("epoch", "steps", "expected", "trained", "quarantined", "lost", "twice", "missing", "unknown")
    table = Table(box=None)
    for name in names:
        table.add_column(name, justify="right")
    for count in epochs:
        table.add_row(*(f"{getattr(count, name):,}" for name in names))
    return table


def _lost(result: "Verification") -> list[str]:
    """What was left out together, a line each."""
    lines = []
    for count in result.epochs:
        losses = [loss for loss in result.losses if loss.epoch == count.epoch]
        for loss in losses:
            shard, _, number = loss.id.partition("#")
            at = f"sample {number} of source {loss.source}; the reason is in quarantine/"
            lines.append(f"epoch {count.epoch}: {loss.samples:,} samples lost with shard {shard} ({at})")
        if rest := count.lost - sum(loss.samples for loss in losses):
            lines.append(f"epoch {count.epoch}: {rest:,} more samples lost, --all lists every shard")
    return lines + [f"nothing tells how many samples were lost with shard {path}" for path in result.uncertain]


def _lines(result: "Verification", everything: bool) -> list[str]:
    """What is wrong, a line each."""
    lines = [f"cannot be read: {message}" for message in result.damaged]
    for count in result.epochs:
        if count.odd_steps:
            shown = count.odd_steps if everything else count.odd_steps[:SHOWN]
            rest = len(count.odd_steps) - len(shown)
            steps = ", ".join(map(str, shown)) + (f" and {rest} more" if rest else "")
            lines.append(f"epoch {count.epoch}: steps with too many or too few samples: {steps}")
    for fault in result.faults:
        taken = ", ".join(f"step {step} on rank {rank}" for step, rank in fault.taken)
        lines.append(
            f"epoch {fault.epoch}: {fault.kind}: {fault.source}: {fault.id}" + (f" ({taken})" if taken else "")
        )
    if not everything:
        lines.append(f"At most {SHOWN} of each kind and epoch are listed; --all lists every one")
    return lines
