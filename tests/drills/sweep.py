"""Kills while a sweep runs: its trials must come to what they come to when nothing disturbs them.

    python -m tests.drills.sweep [KIND ...] [--seed S]

Six trials of a tiny LLaVA with injection, one of which diverges, on a cluster of a head without CPUs and three nodes
with two CPUs each; two trials have room at once, and `cli-ray tune` runs as a process of its own. At random moments it
kills a worker of a trial, a node (another one comes), the driver (the same command again), sends the SIGTERM of
`ray job stop` (the same command again), and takes away the storage of a trial's checkpoints, which ends the sweep with
an error (the same command again). Prints of each run which trials had ended at the kill and were run again, the
steps of the others that were trained twice, and whether table and losses equal the undisturbed ones. The exit code is 1
when any run came out otherwise.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli_ray.drill.job import RunFiles
from cli_ray.drill.kill import WORKER, Outage
from cli_ray.drill.plan import Room
from cli_ray.drill.site import Site
from cli_ray.text import grid
from tests.drills.command import Command
from tests.drills.quiet import be_quiet
from tests.drills.training import CASES, write_data

EVERY = 4
"""Steps between checkpoints and between validations."""
STEPS = 24
RATES = (1e-2, 3e-3, 1e-3, 1e-4, 1e-6, 1e12)
KINDS = ("worker", "node", "driver", "stop", "storage")
HEAD = ("kill", "ended", "run again", "steps redone", "whole run", "table", "losses")
PATIENCE_S = 400.0
Losses = dict[str, dict[int, float | None]]


class Run(Command):
    """A sweep in a folder of its own.

    Args:
        sweep: its TOML file.
    """

    def __init__(self, site: Site, sweep: Path, folder: Path) -> None:
        self.folder = folder / sweep.stem
        words = ["tune", str(sweep), "--sweeps-dir", str(folder)]
        super().__init__(site, words, folder.with_suffix(".log"), PATIENCE_S)

    @property
    def trials(self) -> list[RunFiles]:
        """Those that have begun."""
        return [RunFiles(path.parent) for path in sorted(self.folder.glob("trials/*/events.jsonl"))]

    @property
    def ended(self) -> dict[str, int]:
        """The trials that ended, with how often their workers were started."""
        return {one.folder.name: len(one.starts) for one in self.trials if (one.folder / "outcome.json").exists()}

    def table(self) -> dict[str, Any]:
        """By what was drawn: how each trial ended, where, and with which validation loss."""
        return {drawn: (one["state"], one["step"], one["values"], one["reason"]) for drawn, one in self._results()}

    def losses(self) -> Losses:
        """By what was drawn: the loss of each step."""
        return {drawn: dict(RunFiles(self.folder / "trials" / one["trial"]).losses) for drawn, one in self._results()}

    def _results(self) -> list[tuple[str, dict[str, Any]]]:
        """What was drawn, and what came of it, of each trial."""
        told = json.loads((self.folder / "results.json").read_text())
        return [(json.dumps(one["draw"]), one) for one in told["trials"]]


def kill(run: Run, kind: str, draw: random.Random) -> None:
    """Kills now, and brings back what the sweep cannot: a node, the command."""
    site = run.site
    busy = [node for node in site.nodes if site.workers(node, WORKER)]
    node = draw.choice(busy or site.nodes)
    if kind == "worker":
        for one in site.workers(node, WORKER)[:1]:
            os.kill(one.pid, signal.SIGKILL)
    elif kind == "node":
        site.grow(site.shrink(node, crash=True))
    elif kind == "storage":
        trial = next(one for one in run.trials if one.folder.name not in run.ended)
        with Outage(trial.folder / "checkpoints"):
            if run.driver.wait() != 1:
                raise RuntimeError(f"the sweep did not end by the outage of {trial.folder}")
        run.start()
    else:
        run.driver.send_signal(signal.SIGKILL if kind == "driver" else signal.SIGTERM)
        run.driver.wait()
        run.start()


def disturbed(site: Site, sweep: Path, folder: Path, kind: str, draw: random.Random, whole: Run) -> list[str]:
    """A line of the table."""
    run = Run(site, sweep, folder)
    goal, step = draw.randrange(len(RATES) - 1), draw.randrange(STEPS)
    run.until(lambda: len(run.ended) >= goal and any(one.step >= step for one in run.trials))
    ended, steps = run.ended, {one.folder: one.step for one in run.trials}
    kill(run, kind, draw)
    run.until(lambda: run.driver.poll() == 0)
    again = sum(count != run.ended[name] for name, count in ended.items())
    redone = [
        max([0, *(steps.get(one.folder, 0) - start for start in one.starts[1:])])
        for one in run.trials
        if one.folder.name not in ended
    ]
    equal = ["equal" if same else "DIFFERS" for same in (run.table() == whole.table(), run.losses() == whole.losses())]
    took = f"{time.monotonic() - run.began:.0f} s"
    return [kind, f"{len(ended)} of {len(RATES)}", str(again), " ".join(map(str, redone)), took, *equal]


def write_sweep(folder: Path, rates: Sequence[float], steps: int, every: int) -> Path:
    """A sweep over learning rates, its base run.toml and their data.

    Args:
        rates: a trial each.
        steps: of each trial.
        every: steps between checkpoints and between validations.
    """
    write_data(folder)
    text = Path(CASES[0].words(folder)[0]).read_text()
    for old, new in (
        ("num_workers = 2", "num_workers = 1"),
        ("epochs = 5", "epochs = 1000"),
        ("max_steps = 60", f"max_steps = {steps}"),
        ("every = 6", f"every = {every}"),
    ):
        text = text.replace(old, new)
    held_out = f'\n[validation]\nevery = {every}\nsources = [{{ path = "{folder / "parquet"}" }}]\n'
    (folder / "run.toml").write_text(text + held_out)
    path = folder / "rates.toml"
    path.write_text(
        f'name = "rates"\nbase = "run.toml"\nsearch = "grid"\nscheduler = "none"\n'
        f'[space]\n"optim.llm.lr" = [{", ".join(f"{rate:g}" for rate in rates)}]\n'
    )
    return path


def main() -> int:
    """Runs all drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of kill, in turn: {', '.join(KINDS)}; all of them")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kinds = arguments.kinds or KINDS
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"no kinds of kill: {', '.join(unknown)}")
    draw = random.Random(arguments.seed)
    be_quiet()
    site = Site([Room(2)] * 3)
    lines = []
    with tempfile.TemporaryDirectory(prefix="drill") as folder:
        try:
            sweep = write_sweep(Path(folder), RATES, STEPS, EVERY)
            whole = Run(site, sweep, Path(folder, "undisturbed"))
            whole.until(lambda: whole.driver.poll() == 0)
            print(f"undisturbed: {len(RATES)} trials in {time.monotonic() - whole.began:.0f} s", flush=True)
            for number, kind in enumerate(kinds):
                lines.append(disturbed(site, sweep, Path(folder, f"{number:02}-{kind}"), kind, draw, whole))
                print(" | ".join(lines[-1]), flush=True)
        finally:
            site.close()
    sound = all(line[-2:] == ["equal", "equal"] and line[2] == "0" for line in lines)
    print(f"\n{grid(HEAD, lines, left=1)}\n\n{'all equal' if sound else 'NOT all equal'}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
