"""Hostile shards through what a training run does with them: index, stream, quarantine.

    python -m tests.drills.hostile [--inputs N] [--seed S]

Sources of generated inputs beside sound samples go through `build_index`, `Stream` and the encoder of the tiny LLaVA,
in a process of their own, which is killed where it hangs and started again where it died. The exit code is 1 when
anything but a refusal for people (UserError) was raised, when a process died or hung, when a sound neighbour was
lost, when a pickle ran, or when a file was written.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cli_ray.text import grid
from tests.data.hostile.pickles import hostile_pickle
from tests.data.hostile.records import hostile_json_file, hostile_lines
from tests.data.hostile.shard import HostileShard
from tests.data.hostile.tables import hostile_rows, hostile_table
from tests.data.hostile.tars import hostile_members, hostile_tar
from tests.drills.hostile_worker import Outcome, work
from tests.drills.quiet import be_quiet

LIMIT_S = 30
"""For one shard."""
START_S = 300
"""For a process to import what it needs."""
Make = Callable[[Path, Random, int], HostileShard]
ROUND: tuple[tuple[Make, int], ...] = (
    (hostile_members, 3),
    (hostile_lines, 1),
    (hostile_rows, 1),
    (hostile_tar, 21),
    (hostile_table, 44),
    (hostile_json_file, 16),
    (hostile_pickle, 45),
)
"""How many shards of each generator come in turn: every kind of them once."""


class Worker:
    """A process that reads shards, started at construction."""

    def __init__(self, cwd: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._mine, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, str(cwd)), daemon=True)
        self._process.start()
        theirs.close()
        if not self._mine.poll(START_S) or self._mine.recv() != "ready":
            raise RuntimeError("the worker does not start")

    def read(self, folder: Path) -> Outcome | str:
        """What came of a source; `hung`, or how the process died."""
        self._mine.send(str(folder))
        if not self._mine.poll(LIMIT_S):
            self.end()
            return "hung"
        try:
            found: Outcome = self._mine.recv()
        except EOFError:
            self._process.join()
            return f"died with exit code {self._process.exitcode}"
        return found

    def end(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.join()


@dataclass
class Tally:
    """What came of all shards."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Inputs by kind and reason."""
    faults: list[str] = field(default_factory=list)
    """What must not happen."""
    first_kib: int = 0
    """Peak memory of the worker after its first shard."""
    peak_kib: int = 0
    peak_kind: str = ""
    """The shard that brought it to its peak."""

    def add(self, shard: HostileShard, outcome: Outcome | str) -> None:
        """Counts a shard."""
        name = shard.kinds[0] if len(shard.kinds) == 1 else "one of " + ", ".join(sorted(set(shard.kinds)))
        if isinstance(outcome, str):
            self.counts.update((kind, outcome) for kind in shard.kinds)
            self.faults.append(f"{name}: {outcome}")
            return
        self.counts.update(zip(shard.kinds, outcome.reasons(len(shard.kinds)), strict=True))
        self.faults += [f"{name}: {fault}" for fault in outcome.faults]
        lost = set(shard.sound) - outcome.good
        self.faults += [f"{name}: lost {', '.join(sorted(lost))}"] if lost else []
        self.first_kib = self.first_kib or outcome.peak_kib
        if outcome.peak_kib > self.peak_kib:
            self.peak_kib, self.peak_kind = outcome.peak_kib, name


def drill(inputs: int, seed: int) -> Tally:
    """Generates and reads shards until there were so many inputs."""
    random, tally = Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="hostile") as tree:
        cwd = Path(tree, "cwd")
        cwd.mkdir()
        worker = Worker(cwd)
        while tally.counts.total() < inputs:
            for make, times in ROUND:
                for turn in range(times):
                    shard, outcome = _one(make, random, turn, Path(tree), worker)
                    tally.add(shard, outcome)
                    if isinstance(outcome, str):
                        worker.end()
                        worker = Worker(cwd)
            print(f"{tally.counts.total()} inputs, {len(tally.faults)} faults", file=sys.stderr, flush=True)
        worker.end()
        tally.faults += [f"{path.name} was written" for path in cwd.iterdir()]
    return tally


def _one(make: Make, random: Random, turn: int, tree: Path, worker: Worker) -> tuple[HostileShard, Outcome | str]:
    """Writes, reads and removes a shard."""
    with tempfile.TemporaryDirectory(dir=tree) as above:
        data = Path(above, "data")
        data.mkdir()
        shard = make(data, random, turn)
        before = {path: path.stat().st_mtime_ns for path in Path(above).rglob("*")}
        outcome = worker.read(data)
        after = {path: path.stat().st_mtime_ns for path in Path(above).rglob("*")}
        if after != before and isinstance(outcome, Outcome):
            changed = sorted(str(path.relative_to(above)) for path, _ in before.items() ^ after.items())
            outcome.faults.append(f"written: {', '.join(changed)}")
    return shard, outcome


def main() -> int:
    """Runs the drill and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    be_quiet()
    began = time.monotonic()
    tally = drill(arguments.inputs, arguments.seed)
    rows = [(kind, reason, str(count)) for (kind, reason), count in sorted(tally.counts.items())]
    print(grid(("kind", "what came of it", "inputs"), rows, left=2))
    print(f"\n{tally.counts.total()} inputs in {time.monotonic() - began:.0f} s; {len(tally.faults)} faults")
    print(f"peak memory {tally.peak_kib >> 10} MiB ({tally.peak_kind[:200]}), {tally.first_kib >> 10} MiB at first")
    for fault in tally.faults[:50]:
        print(fault[:600])
    return int(bool(tally.faults))


if __name__ == "__main__":
    sys.exit(main())
