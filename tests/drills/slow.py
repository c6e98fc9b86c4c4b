"""Runs that are slow on purpose: whether `cli-ray why-slow` names the cause of each.

    python -m tests.drills.slow [CASE ...]

A tiny LLaVA with injection is trained by two workers on a local node of four CPUs: with large pictures in one of four
shards, with a rank that is stopped three quarters of the time, with a checkpoint at every step, and without packing on
replies of mixed lengths. Prints what `why-slow` says of each. The exit code is 1 where the first cause is another one.
"""

import io
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from PIL import Image

from cli_ray.commands import why_slow
from cli_ray.data.synthetic import SyntheticSample, Turn, synthesize, write_tar
from cli_ray.drill.job import Job
from cli_ray.drill.plan import Room
from cli_ray.drill.site import Site
from cli_ray.train.health.heartbeat import find_pulse
from cli_ray.train.run_folder import RunFolder
from cli_ray.watch.history import read_run
from cli_ray.watch.slowness import Cause, causes
from cli_ray.watch.times import step_times
from tests.drills.quiet import be_quiet
from tests.drills.training import BASE

CPUS = 4
PATIENCE_S = 240.0
SHARD = 40
"""Samples of a shard."""
SLOW_SHARD = "shard-00002.tar"
SLOW_RANK = 1
SIDE = 4000
"""Of the pictures of the slow shard, in pixels."""
STOPPED_S, RUNNING_S = 0.3, 0.1
"""How long the slow rank is stopped and goes on, in turn."""


@dataclass(frozen=True)
class Case:
    """A run that is slow for one reason."""

    cause: str
    named: str
    """What the finding must hold."""
    words: Sequence[str] = ()
    change: Callable[[int, SyntheticSample], SyntheticSample] = lambda number, sample: sample
    """Makes the samples of the run."""
    disturb: Callable[[Job], Any] = lambda job: nullcontext()
    """A context around the run."""


def enlarged(number: int, sample: SyntheticSample) -> SyntheticSample:
    """A large picture where the sample is in the slow shard."""
    if number // SHARD != int(SLOW_SHARD[6:11]):
        return sample
    buffer = io.BytesIO()
    Image.open(io.BytesIO(sample.image)).resize((SIDE, SIDE)).save(buffer, format="PNG", compress_level=1)
    return replace(sample, image=buffer.getvalue())


def lengthened(number: int, sample: SyntheticSample) -> SyntheticSample:
    """A long reply to every eighth question."""
    turns = (Turn("whole", "What is there?", "a long reply " * 12),) if number % 8 == 0 else sample.turns[:1]
    return replace(sample, turns=turns)


@contextmanager
def stopped(job: Job) -> Iterator[None]:
    """Stops a rank again and again while the run goes on."""
    job.until(lambda: job.files.step > 1)
    signs = ray.get(find_pulse(RunFolder(str(job.files.folder))).look.remote())
    [pid] = [seen.sign.pid for seen in signs if seen.sign.rank == SLOW_RANK]
    over = threading.Event()

    def toggle() -> None:
        with suppress(ProcessLookupError):  # the run is over
            while not over.is_set():
                os.kill(pid, signal.SIGSTOP)
                time.sleep(STOPPED_S)
                os.kill(pid, signal.SIGCONT)
                over.wait(RUNNING_S)

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


CASES = {
    "slow-shard": Case("data", SLOW_SHARD, change=enlarged),
    "slow-rank": Case("slow rank", f"rank {SLOW_RANK} computes longest", disturb=stopped),
    "checkpoints": Case(
        "checkpoint",
        "every 1 steps",
        words=["--checkpoint.every", "1", "--train.global-batch-size", "4", "--train.micro-batch-size", "2"],
    ),
    "padding": Case(
        "padding",
        "of the positions that are computed are padding",
        words=["--train.packing", "False", "--train.micro-batch-size", "8", "--data.window-samples", "16"],
        change=lengthened,
    ),
}


def slow_run(site: Site, folder: Path, name: str, case: Case) -> bool:
    """Trains a case and asks why it is slow; whether the first cause is that of the case."""
    drawn = synthesize(4 * SHARD, seed=0, split="train")
    write_tar([case.change(number, sample) for number, sample in enumerate(drawn)], folder / name, shard_size=SHARD)
    config = folder / f"{name}.toml"
    config.write_text(BASE.replace("[data]\n", f'[[data.sources]]\npath = "{folder / name}"\n[data]\n'))
    words = [str(config), "--checkpoint.every", "100", *case.words]
    with Job(words, folder / "runs", name, site.address, PATIENCE_S) as job, case.disturb(job):
        job.until(job.ended)
    print(f"\n## {name}\n", flush=True)
    why_slow.main([str(job.files.folder)])
    found = first_cause(job.files.folder)
    return found is not None and found.name == case.cause and case.named in found.finding


def first_cause(run: Path) -> Cause | None:
    """The cause that `why-slow` names first."""
    history = read_run(str(run))
    assert history.config is not None
    return next(iter(causes(step_times(history), history.config)), None)


def main(names: list[str]) -> int:
    """Runs the cases."""
    be_quiet()
    site = Site([Room(CPUS)])
    try:
        ray.init(address=site.address, logging_level="warning", log_to_driver=False)
        with tempfile.TemporaryDirectory(prefix="drill") as folder:
            (Path(folder) / "runs").mkdir()
            right = {name: slow_run(site, Path(folder), name, CASES[name]) for name in names or list(CASES)}
    finally:
        ray.shutdown()
        site.close()
    print("\n" + "\n".join(f"{name}: {'named' if is_right else 'NOT named'}" for name, is_right in right.items()))
    return 0 if all(right.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
