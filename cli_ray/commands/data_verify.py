"""`cli-ray data verify RUN`: whether every sample was trained on as often as it should be, by the run's own record."""

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import tyro

from cli_ray.config.base import Section, Uri
from cli_ray.config.load import arguments
from cli_ray.errors import UserError

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

    found = verification(settings.run, None if settings.all else SHOWN)
    console = Console(soft_wrap=True)
    console.print(_table(found.epochs))
    lost = _lost(found)
    for line in lost:
        print(line)
    if found.is_right:
        console.print("no sample twice, none missing" if not lost else "no sample twice, no other missing")
        return
    for line in _lines(found, settings.all):
        print(line)
    sys.exit(1)


def verification(run: str, limit: int | None) -> "Verification":
    """Verifies the ledger of a run.

    Raises:
        UserError: no run folder, no checkpoint yet, or no record.
    """
    from cli_ray.data import ledger
    from cli_ray.data.index import Index, order_of
    from cli_ray.data.places import Places
    from cli_ray.data.verify import Verifier
    from cli_ray.train.checkpoint.files import complete_checkpoints
    from cli_ray.train.run_folder import RunFolder, load_config

    folder = RunFolder(run)
    config = load_config(folder)
    complete = complete_checkpoints(folder)
    if not complete:
        raise UserError(f"{folder.uri} has no complete checkpoint yet; the record of its samples comes with the first")
    newest = complete[-1]
    files = ledger.steps(folder)
    if not files:
        raise UserError(
            f"{folder.uri} has no record of its samples, {ledger.LEDGER}/: it is written by runs with log.ids = true, "
            f"this one has log.ids = {str(config.log.ids).lower()}"
        )
    index = Index.from_json(folder.read("index.json") or "")
    order = order_of(
        index,
        config.data,
        seed=config.seed,
        lanes=newest.stream["lanes"],
        micro_batch_size=config.train.micro_batch_size,
        global_batch_size=config.train.global_batch_size,
    )
    found = Verifier(Places(index), order, partial(ledger.read, folder), files, newest.progress.step, limit).run()
    found.uncertain = [index.unit(number).path for number, damage in index.damages.items() if not damage.is_known]
    return found


def _table(epochs: "list[EpochCount]") -> "Table":
    from rich.table import Table

    names = ("epoch", "steps", "expected", "trained", "quarantined", "lost", "twice", "missing", "unknown")
    table = Table(box=None)
    for name in names:
        table.add_column(name, justify="right")
    for count in epochs:
        table.add_row(*(f"{getattr(count, name):,}" for name in names))
    return table


def _lost(found: "Verification") -> list[str]:
    """What was left out together, a line each."""
    lines = []
    for count in found.epochs:
        losses = [loss for loss in found.losses if loss.epoch == count.epoch]
        for loss in losses:
            shard, _, number = loss.id.partition("#")
            at = f"sample {number} of source {loss.source}; the reason is in quarantine/"
            lines.append(f"epoch {count.epoch}: {loss.samples:,} samples lost with shard {shard} ({at})")
        if rest := count.lost - sum(loss.samples for loss in losses):
            lines.append(f"epoch {count.epoch}: {rest:,} more samples lost, --all lists every shard")
    return lines + [f"nothing tells how many samples were lost with shard {path}" for path in found.uncertain]


def _lines(found: "Verification", everything: bool) -> list[str]:
    """What is wrong, a line each."""
    lines = [f"cannot be read: {message}" for message in found.damaged]
    for count in found.epochs:
        if count.odd_steps:
            shown = count.odd_steps if everything else count.odd_steps[:SHOWN]
            rest = len(count.odd_steps) - len(shown)
            steps = ", ".join(map(str, shown)) + (f" and {rest} more" if rest else "")
            lines.append(f"epoch {count.epoch}: steps with too many or too few samples: {steps}")
    for fault in found.faults:
        taken = ", ".join(f"step {step} on rank {rank}" for step, rank in fault.taken)
        lines.append(
            f"epoch {fault.epoch}: {fault.kind}: {fault.source}: {fault.id}" + (f" ({taken})" if taken else "")
        )
    if not everything:
        lines.append(f"At most {SHOWN} of each kind and epoch are listed; --all lists every one")
    return lines
