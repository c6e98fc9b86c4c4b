"""Trials per hour of a sweep against the same trials one after another, and what a trial costs beyond its training.

    python -m tests.perf.sweep [--trials 6] [--steps 200] [--at-once 2]

Three ways, each on the same cluster of this machine: `cli-ray tune` with room for several trials, `cli-ray tune` with
one trial at a time, and a loop of `cli-ray train` over the configs of the trials, as a script would do it. Trials are
a tiny LLaVA with injection on one worker. Training time is what the steps took, with their wait for data; all else of
a trial is overhead: processes, imports, model, index, validation, checkpoints, and the sweep itself. The sweep's own
part is what `cli-ray tune` takes longer than the loop.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli_ray.drill.plan import Room
from cli_ray.drill.site import Site
from cli_ray.text import grid
from tests.drills.quiet import be_quiet
from tests.drills.sweep import write_sweep

RATES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)
HEAD = ("way", "wall s", "trials an hour", "training s", "overhead s")
CPUS_PER_TRIAL = 2
"""One of its worker, one of its stream."""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    trials: int
    steps: int
    at_once: int

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates, a trial each."""
        return RATES[: self.trials]


def command(site: Site, *words: str) -> None:
    """Runs `cli-ray` to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {**os.environ, "RAY_ADDRESS": site.address}
    whole = [sys.executable, "-m", "cli_ray", *words]
    subprocess.run(whole, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def tuned(site: Site, folder: Path, name: str, at_once: int) -> Path:
    """The folder of the runs of a sweep."""
    where = ["--sweeps-dir", str(folder / name), "--max-concurrent", str(at_once)]
    command(site, "tune", str(folder / "rates.toml"), *where)
    return folder / name / "rates" / "trials"


def looped(site: Site, folder: Path, setting: Setting) -> Path:
    """The folder of the runs of a loop."""
    for rate in setting.rates:
        changed = ["--optim.llm.lr", f"{rate:g}", "--name", f"lr-{rate:g}"]
        command(site, "train", str(folder / "run.toml"), "--runs-dir", str(folder / "loop"), *changed)
    return folder / "loop"


def training_s(runs: Path) -> float:
    """Mean of the runs: the time of their steps with the wait for data."""
    files = list(runs.glob("*/metrics.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    times_ms = [float(row["step_ms"] + row["data_wait_ms"]) for row in rows if "step_ms" in row]
    return sum(times_ms) / 1e3 / len(files)


def measured(setting: Setting) -> str:
    """A table with a line per way, and the ratios."""
    walls: dict[str, float] = {}
    lines = []
    site = Site([Room(CPUS_PER_TRIAL * setting.at_once + 1)])
    with tempfile.TemporaryDirectory(prefix="sweep") as name:
        try:
            folder = Path(name)
            write_sweep(folder, setting.rates, setting.steps, setting.steps)
            ways: list[tuple[str, int, Callable[[], Path]]] = [
                ("loop of cli-ray train", 1, lambda: looped(site, folder, setting)),
                ("cli-ray tune, 1 at once", 1, lambda: tuned(site, folder, "one", 1)),
                (
                    f"cli-ray tune, {setting.at_once} at once",
                    setting.at_once,
                    lambda: tuned(site, folder, "several", setting.at_once),
                ),
            ]
            for way, at_once, run in ways:
                began = time.monotonic()
                runs = run()
                wall = walls[way] = time.monotonic() - began
                trained = training_s(runs)
                over = wall * at_once / setting.trials - trained
                row = [way, f"{wall:.0f}", f"{3600 * setting.trials / wall:.0f}", f"{trained:.1f}", f"{over:.1f}"]
                lines.append(row)
                print(" | ".join(row), flush=True)
        finally:
            site.close()
    loop, one, several = walls.values()
    return (
        f"\n{grid(HEAD, lines, left=1)}\n\nagainst the loop: {loop / several:.2f}x the trials an hour; one trial at a "
        f"time {loop / one:.2f}x; a sweep of one at a time costs {(one - loop) / setting.trials:+.1f} s a trial"
    )


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, choices=range(1, len(RATES) + 1))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=2)
    arguments = parser.parse_args()
    be_quiet()
    print(measured(Setting(arguments.trials, arguments.steps, arguments.at_once)))


if __name__ == "__main__":
    main()
