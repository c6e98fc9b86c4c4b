"""Kills while an evaluation runs: its table, samples and records must equal those of a run that nothing disturbed.

    python -m tests.drills.evaluation [--kills N] [--seed S]

All benchmarks' miniature items go through a tiny LLaVA on a cluster of a head without CPUs and two nodes with a
replica each, and `cli-ray eval` runs as a process of its own. At random moments, half of them while the weights load
and half of them later, it kills the driver (which is started again by the same command), a replica (SIGKILL of its
process), or a node (another one comes later); then all nodes at once, and at last the cluster grows and shrinks.
Of each run it says what was stored at the kill, how many samples have a second record, how many records took a second
attempt, and the seconds from the kill to the next record. The exit code is 1 when any run came out otherwise.
"""

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli_ray.drill.plan import Room
from cli_ray.drill.site import Process, Site
from cli_ray.evals.records import Store
from cli_ray.evals.results.samples import SCHEMA, read_columns
from cli_ray.evals.results.table import read_results
from cli_ray.evals.suite import SUITES
from cli_ray.model.tiny import build_tiny
from cli_ray.text import grid
from tests.drills.command import Command
from tests.drills.quiet import be_quiet
from tests.evals.generation.charts import save_model

ENDS_EVERY = 12
"""Each n-th token of the vocabulary ends a reply, so that a run takes some 20 s of one core."""
LOAD_S = 3.0
"""Loading the weights takes at least as long: imports alone do."""
PATIENCE_S = 240.0
"""After which something hangs."""
HEAD = ("kill", "moment", "stored", "made twice", "2nd attempt", "next record", "whole run", "table", "samples",
        "records")  # fmt: skip
COMPARED = [name for name in SCHEMA.names if name not in ("attempts", "seconds")]


@dataclass(frozen=True)
class Outcome:
    """What an evaluation came to."""

    table: tuple[Any, str]
    """Rows of results.json, and table.md."""
    samples: dict[str, list[dict[str, Any]]]
    """By benchmark, without attempts and times."""
    keys: set[str]
    """Of the records."""
    lines: int
    """Whole lines of all records' files."""
    retried: int
    """Records that took more than one attempt."""


class Run(Command):
    """An evaluation in a folder of its own."""

    def __init__(self, site: Site, model: str, folder: Path) -> None:
        self.folder = folder
        replica = ["--replica.gpus", "0", "--replica.dtype", "fp32", "--replica.batch-size", "2"]
        words = ["eval", "--model", model, "--miniature", "--suite", "all", "--output", str(folder), *replica]
        super().__init__(site, words, folder.with_suffix(".log"), PATIENCE_S)

    def stored(self) -> int:
        """Whole lines of all records' files."""
        return sum(file.read_bytes().count(b"\n") for file in self.folder.glob("records/*/*.jsonl"))

    def replicas(self) -> list[Process]:
        """Of all nodes."""
        return [one for node in self.site.nodes for one in self.site.workers(node, "ray::Replica")]

    def at_work(self) -> int:
        """Replicas that have loaded the weights and generate."""
        return sum(one.title == "ray::Replica.run" for one in self.replicas())

    def outcome(self) -> Outcome:
        """Waits for the end."""
        self.until(lambda: self.driver.poll() == 0)
        names = sorted(path.name for path in (self.folder / "records").iterdir())
        store, output = Store(str(self.folder)), str(self.folder)
        samples = {name: list(read_columns(f"{output}/samples/{name}.parquet", COMPARED)) for name in names}
        records = [record for name in names for record in store.load(name).values()]
        return Outcome(
            (read_results(output).rows, (self.folder / "table.md").read_text()),
            samples,
            {record.key for record in records},
            self.stored(),
            sum(record.attempts > 1 for record in records),
        )


@dataclass(frozen=True)
class Reference:
    """The run that nothing disturbed."""

    outcome: Outcome
    load_s: float
    """From the first replica's process to the first record."""

    def same(self, other: Outcome) -> tuple[bool, bool, bool]:
        """Whether table, samples and the set of records are equal."""
        mine = self.outcome
        return mine.table == other.table, mine.samples == other.samples, mine.keys == other.keys


class Drill:
    """Disturbed runs, a line of the table each."""

    def __init__(self, site: Site, folder: Path, draw: random.Random) -> None:
        self._site, self._folder, self._draw = site, folder, draw
        self._model = tiny_model(folder / "model")
        self.lines: list[tuple[str, ...]] = []
        self.sound = True
        run = Run(site, self._model, folder / "undisturbed")
        run.until(lambda: bool(run.replicas()))
        load_s = run.until(lambda: run.stored() > 0)
        self.reference = Reference(run.outcome(), load_s)
        self._total = len(self.reference.outcome.keys)
        if set(self.reference.outcome.samples) != set(SUITES["all"]) or self._total != self.reference.outcome.lines:
            raise RuntimeError("the undisturbed run lacks benchmarks, or has two records of a sample")
        took = time.monotonic() - run.began
        print(
            f"undisturbed: {self._total} samples in {took:.1f} s, {load_s:.1f} s of it to load the weights", flush=True
        )

    def kill(self, kind: str, early: bool) -> None:
        """A run with one kill: of the `driver`, a `replica`, a `node` or `all nodes`."""
        run = Run(self._site, self._model, self._folder / f"{len(self.lines):02}-{kind.replace(' ', '-')}")
        self._wait_for_moment(run, early)
        stored, began = run.stored(), time.monotonic()
        moment = "generating" if stored or run.at_work() else "loading"
        {"driver": self._driver, "replica": self._replica, "node": self._node, "all nodes": self._nodes}[kind](run)
        if kind == "all nodes":
            time.sleep(self._draw.uniform(1, 5))
            self._site.grow(Room())
        run.until(lambda: run.stored() > stored or run.driver.poll() == 0)
        waited = time.monotonic() - began
        while len(self._site.nodes) < 2:
            self._site.grow(Room())
        self._note(kind, moment, str(stored), f"{waited:.1f} s", run)

    def grow_and_shrink(self) -> None:
        """Starts with one node; another one comes and goes again.

        The first replica is held while the second one loads, so that there is still work for that however slow the
        machine is.
        """
        self._site.shrink(self._site.nodes[-1], crash=False)
        run = Run(self._site, self._model, self._folder / "grown-and-shrunk")
        run.until(lambda: run.stored() > 0 and run.at_work() == 1)
        counts, marks = [run.at_work()], [run.stored()]
        (first,) = run.replicas()
        os.kill(first.pid, signal.SIGSTOP)
        self._site.grow(Room())
        run.until(lambda: run.at_work() == 2)
        counts.append(run.at_work())
        held = run.stored()
        run.until(lambda: run.stored() > held)
        os.kill(first.pid, signal.SIGCONT)
        marks.append(run.stored())
        self._site.shrink(self._site.nodes[-1], crash=False)
        run.until(lambda: run.stored() > marks[-1] and run.at_work() == 1)
        counts.append(run.at_work())
        marks.append(run.stored())
        self._note("grow and shrink", "generating", " ".join(map(str, marks)), "", run)
        print(f"replicas at work before the second node, with it, without it: {counts}", flush=True)
        self.sound &= counts == [1, 2, 1]
        self._site.grow(Room())

    def _wait_for_moment(self, run: Run, early: bool) -> None:
        if early:
            run.until(lambda: bool(run.replicas()))
            time.sleep(self._draw.uniform(0, min(self.reference.load_s, LOAD_S)))
        else:
            mark = self._draw.randint(1, self._total - 10)
            run.until(lambda: run.stored() >= mark)

    def _driver(self, run: Run) -> None:
        run.driver.send_signal(signal.SIGKILL)
        run.driver.wait()
        run.start()

    def _replica(self, run: Run) -> None:
        os.kill(self._draw.choice(run.replicas()).pid, signal.SIGKILL)

    def _node(self, run: Run) -> None:
        self._site.shrink(self._draw.choice(self._site.nodes), crash=True)

    def _nodes(self, run: Run) -> None:
        for node in list(self._site.nodes):
            self._site.shrink(node, crash=True)

    def _note(self, kind: str, moment: str, stored: str, waited: str, run: Run) -> None:
        outcome = run.outcome()
        took = time.monotonic() - run.began
        same = self.reference.same(outcome)
        self.sound &= all(same)
        twice = str(outcome.lines - len(outcome.keys))
        equal = ("equal" if one else "DIFFERS" for one in same)
        self.lines.append((kind, moment, stored, twice, str(outcome.retried), waited, f"{took:.1f} s", *equal))
        print(" | ".join(self.lines[-1]), flush=True)


def tiny_model(folder: Path) -> str:
    """A LLaVA with random weights, whose replies have some tens of tokens."""
    model = build_tiny("llava")
    path = save_model(folder, "llava", model)
    config = folder / "generation_config.json"
    ends = ", ".join(str(token) for token in range(0, model.config.text_config.vocab_size, ENDS_EVERY))
    config.write_text(re.sub(r'"eos_token_id": \d+', f'"eos_token_id": [{ends}]', config.read_text()))
    return path


def main() -> int:
    """Runs all drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    be_quiet()
    site = Site([Room()] * 2)
    with tempfile.TemporaryDirectory(prefix="drill") as folder:
        try:
            drill = Drill(site, Path(folder), draw)
            for number in range(arguments.kills):
                for kind in ("driver", "replica", "node"):
                    drill.kill(kind, early=number % 2 == 1)
            drill.kill("all nodes", early=False)
            drill.grow_and_shrink()
        finally:
            site.close()
    print(f"\n{grid(HEAD, drill.lines, left=2)}\n\n{'all equal' if drill.sound else 'NOT all equal'}")
    return 0 if drill.sound else 1


if __name__ == "__main__":
    sys.exit(main())
