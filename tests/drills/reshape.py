"""Losses, time and disk of runs that go on with another number of ranks: `python -m tests.drills.reshape`.

Prints a table: ZeRO stage and kind of training, change, largest loss difference to the undisturbed run (over all
steps, and in the first step after the first change), seconds of the conversions, their disk at the peak and at
the end beside the checkpoint's, what was reckoned for it, and what is left in the run folder afterwards.
"""

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from cli_ray.train.checkpoint.files import TAG
from cli_ray.train.checkpoint.universal import CONVERTED, convert, room_needed
from tests.drills.quiet import be_quiet
from tests.train.resizing import STEPS, Trace, largest_difference, traces
from tests.train.scenario import Case

CHANGES = ((4, 2, 4), (2, 1, 2), (4, 3, 4))
KINDS = {
    "fp32": Case(micro_batch=2, own_rates=True),
    "bf16": Case(micro_batch=2, own_rates=True, precision="bf16"),
    "LoRA": Case(micro_batch=2, own_rates=True, lora=True),
    "frozen vision tower": Case(micro_batch=2, own_rates=True, frozen_vision=True),
    "OneVision, frozen language model": Case(
        micro_batch=2, own_rates=True, family="llava_onevision", frozen_llm=True
    ),
}  # fmt: skip


def main() -> None:
    """Runs all cases and prints the table."""
    cases = {
        f"ZeRO {stage}, {kind}": replace(case, zero_stage=stage)
        for kind, case in KINDS.items()
        for stage in ((0, 1, 2, 3) if kind in ("fp32", "bf16") else (2, 3))
    }
    print("| case | ranks | loss difference | after the change | convert s | left |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for worlds in CHANGES:
            whole = traces(cases, worlds[:1], Path(folder, "whole", str(worlds)))
            parts = traces(cases, worlds, Path(folder, "parts", str(worlds)))
            for name in cases:
                print(_row(name, worlds, whole[name], parts[name], Path(folder, "parts", str(worlds), name)))
            for name in cases:
                if "ZeRO 0" not in name:
                    print(disk(name, Path(folder, "whole", str(worlds), name)))


def _row(name: str, worlds: tuple[int, ...], whole: Trace, parts: Trace, run: Path) -> str:
    assert (whole.groups, whole.adam_steps, whole.engine_steps) == (parts.groups, parts.adam_steps, parts.engine_steps)
    step = STEPS // len(worlds)
    after = abs(whole.losses[step] - parts.losses[step])
    events = run / "events.jsonl"
    lines = map(json.loads, events.read_text().splitlines()) if events.exists() else ()
    seconds = ", ".join(str(line["seconds"]) for line in lines) or "none"
    left = sorted({path.name for path in run.iterdir()} - {"checkpoints", "events.jsonl"}) or "nothing"
    change = " -> ".join(map(str, worlds))
    return f"| {name} | {change} | {largest_difference(whole, parts):.1e} | {after:.1e} | {seconds} | {left} |"


def disk(name: str, run: Path) -> str:
    """Bytes of a run's checkpoint, and of its conversion as it goes on."""
    saved = next(run.glob("checkpoints/*")) / TAG
    peak, done = 0, Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, _bytes(run / CONVERTED))

    watcher = Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    convert(saved, run / CONVERTED)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return (
        f"{name}: checkpoint {_bytes(saved):,} bytes, conversion {max(peak, _bytes(run / CONVERTED)):,} at its peak "
        f"({room_needed(saved):,} reckoned), {_bytes(run / CONVERTED):,} at its end, {seconds:.1f} s"
    )


def _bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # it goes as it is counted
                continue
    return total


if __name__ == "__main__":
    be_quiet()
    main()
