"""What reports cost: seconds, peak memory and size, for a run, for twenty, and for a run of 200,000 steps.

    python -m tests.perf.report [--steps 200000]

Each report is made by `cli-ray report` in a process of its own, on folders that are written without a training.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.report.folders import write_run


def measure(name: str, folders: list[str], output: Path) -> None:
    """Prints what one report took."""
    words = [sys.executable, "-m", "cli_ray", "report", *folders, "--output", str(output)]
    begin = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"{name}: cli-ray report failed")
    size = output.stat().st_size / 1e6
    processor_s = usage.ru_utime + usage.ru_stime
    print(f"{name:>18}: {seconds:5.1f} s ({processor_s:.1f} s CPU), {usage.ru_maxrss / 1024:4.0f} MiB, {size:.2f} MB")


def main() -> None:
    """Measures the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000, help="of the long run")
    steps = parser.parse_args().steps
    with TemporaryDirectory() as name:
        root = Path(name)
        many = [write_run(root / f"run{number:02}", 300, seed=number) for number in range(20)]
        measure("a run of 300 steps", many[:1], root / "one.html")
        measure("20 such runs", many, root / "many.html")
        measure(f"{steps:,} steps", [write_run(root / "long", steps)], root / "long.html")


if __name__ == "__main__":
    main()
