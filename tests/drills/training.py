"""Kills while a training runs: its losses must equal those of a run that nothing disturbed.

    python -m tests.drills.training [--kills N] [--seed S]

A tiny LLaVA with injection is trained by two workers on a cluster of a head without CPUs and three nodes with one CPU
each: under ZeRO-2 and ZeRO-3, from one source and from two, with LoRA and without. Each of these eight is run once
undisturbed, and once per kill: a worker, a node, the driver, the storage of checkpoints, an announced preemption and
Ctrl-C in turn, before the first step, at a random step, or while a checkpoint is written. `cli-ray train` runs as a
process of its own, as in `cli-ray drill`. The exit code is 1 when any run came out otherwise.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from cli_ray.commands.drill import HEAD, cells, samples
from cli_ray.data.synthetic import synthesize, write_parquet, write_tar
from cli_ray.drill.drill import Drill
from cli_ray.drill.outcome import Outcome
from cli_ray.drill.plan import KINDS, Kind, Room, plan
from cli_ray.drill.site import Site
from cli_ray.text import grid
from tests.drills.quiet import be_quiet

EVERY = 6
"""Steps between checkpoints."""
PATIENCE_S = 600.0
BASE = f"""
name = "drill"
[model]
checkpoint = "tiny"
[injection]
vision_layers = {{ count = 3 }}
decoder_layers = {{ count = 3 }}
amp = {{ rank = 4 }}
agf = {{ num_heads = 2, hidden_size = 16 }}
[data]
max_length = 256
unit_samples = 8
window_samples = 32
[optim]
projector = {{ lr = 1e-3 }}
amp = {{ lr = 1e-3 }}
agf = {{ lr = 1e-3 }}
llm = {{ lr = 1e-3 }}
[train]
global_batch_size = 16
micro_batch_size = 4
epochs = 5
max_steps = 60
precision = "fp32"
[checkpoint]
every = {EVERY}
[cluster]
num_workers = 2
gpus_per_worker = 0
"""


@dataclass(frozen=True)
class Case:
    """One of the eight trainings."""

    zero_stage: int
    sources: Sequence[str]
    """Folders of shards."""
    lora: bool

    def __str__(self) -> str:
        return f"ZeRO-{self.zero_stage}, {' + '.join(self.sources)}{', LoRA' if self.lora else ''}"

    def words(self, data: Path) -> list[str]:
        """Of the command: a config, which is written, and what changes it."""
        path = data / f"{'-'.join(self.sources)}.toml"
        tables = [f'[[data.sources]]\npath = "{data / source}"\n' for source in self.sources]
        path.write_text(BASE.replace("[data]\n", "".join(tables) + "[data]\n"))
        lora = ["--lora.rank", "4", "--optim.lora.lr", "1e-3", "--optim.llm.lr", "0"]
        return [str(path), "--train.zero-stage", str(self.zero_stage), *(lora if self.lora else [])]


CASES = [Case(*values) for values in product((2, 3), (["tar"], ["tar", "parquet"]), (False, True))]


def kinds_of(case: int, kills: int) -> list[Kind]:
    """What is killed in a training: the cases get theirs in turn, each another kind first."""
    return [KINDS[(case + turn) % len(KINDS)] for turn in range(len(range(case, kills, len(CASES))))]


def write_data(folder: Path) -> None:
    """Shards of the two sources."""
    drawn = synthesize(240, seed=0, split="train")
    write_tar(drawn[:160], folder / "tar", shard_size=40)
    write_parquet(drawn[160:], folder / "parquet", rows_per_file=20)


def summary(outcomes: Sequence[Outcome]) -> str:
    """All kills in a line."""
    counts = [one.samples for one in outcomes if one.samples]
    recoveries = [one.recovery_s for one in outcomes if one.recovery_s is not None]
    recovery = f"{median(recoveries):.0f} s (median), {max(recoveries):.0f} s at most" if recoveries else "none"
    return (
        f"{len(outcomes)} kills, {sum(one.sound for one in outcomes)} runs as undisturbed; "
        f"largest loss difference {max(one.difference.largest for one in outcomes):g}; "
        f"samples twice {sum(one.twice for one in counts)}, missing {sum(one.missing for one in counts)}; "
        f"{max(one.redone for one in outcomes)} steps redone at most; "
        f"recovery {recovery}"
    )


def main() -> int:
    """Runs all drills."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4 * len(CASES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    be_quiet()
    site = Site([Room()] * 3)
    outcomes, lines = [], []
    with tempfile.TemporaryDirectory(prefix="drill") as folder:
        try:
            write_data(Path(folder))
            for number, case in enumerate(CASES[: arguments.kills]):
                runs_dir = Path(folder) / f"runs{number}"
                runs_dir.mkdir()
                drill = Drill(site, case.words(Path(folder)), EVERY, runs_dir, PATIENCE_S, samples)
                print(f"{case}: {drill.course.steps} steps in {drill.course.whole_s:.0f} s", flush=True)
                for kill in plan(kinds_of(number, arguments.kills), 1, arguments.seed + number, drill.course):
                    outcomes.append(drill.disturbed(kill))
                    lines.append([str(case), *cells(outcomes[-1])])
                    print(" | ".join(lines[-1]), outcomes[-1].fault, flush=True)
        finally:
            site.close()
    print(f"\n{grid(('training', *HEAD), lines, left=3)}\n\n{summary(outcomes)}")
    return 0 if all(one.sound for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
