"""What an evaluation of VQAv2's size costs the driver and the readers: seconds and memory of each of its phases.

    python -m tests.perf.evaluation [--rows 214354] [--decode] [--folder F] [--cpus 3] [--replicas 2] [--batch-size 16]

Makes a VQAv2-val of small distinct images in the official columns, five questions or so to an image, and runs the real
`evaluate` on it twice, each time in a new process and on a new local cluster, with replicas that answer at once: from
nothing but their batch, or with `--decode` after they have read and decoded its images. The second call finds all done.

A phase's seconds are those in its functions. Those of `scores` lie beside the pool if other benchmarks are left; here
they come after it. RSS of the driver is told at the end of a phase, with the highest so far; that of replicas at four
moments, for they should stay flat.
"""

import argparse
import io
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from PIL import Image

from cli_ray.config import EvaluationConfig
from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.data.images import Limits, decode_all
from cli_ray.evals import run, suite
from cli_ray.evals.generation import replicas
from cli_ray.evals.generation.job import Batch, record_of
from cli_ray.evals.generation.pool import run_pool
from cli_ray.evals.generation.replica import Replica
from cli_ray.evals.items.images import images_of
from cli_ray.evals.items.sources import read
from cli_ray.evals.records import ReplyRecord, Store
from cli_ray.evals.results.scorer import Scorer
from cli_ray.evals.suite import benchmark
from tests.evals.generation.charts import save_model

P = ParamSpec("P")
T = TypeVar("T")

NAME = "vqav2-val"
FILES = 4
GROUP_ROWS = 100
QUESTIONS_PER_IMAGE = 5
WORDS = ("yes", "no", "2", "red", "tennis racket", "on the table", "man", "a dog", "left", "pizza")
SIZES = ((160, 120), (120, 160), (160, 107), (107, 160))
LIMITS = Limits(1 << 24, 1 << 24)
MiB = 1 << 20


def pictures() -> list[bytes]:
    """A JPEG of each size."""
    found = []
    for size in SIZES:
        file = io.BytesIO()
        Image.linear_gradient("L").resize(size).convert("RGB").save(file, "jpeg", quality=40)
        found.append(file.getvalue())
    return found


def distinct(jpeg: bytes, number: int) -> bytes:
    """The same picture with a comment that no other one has."""
    comment = random.Random(number).randbytes(200)
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]


def row(number: int, pictures: list[bytes], draw: random.Random) -> dict[str, Any]:
    """A question in the official columns."""
    image_id, common = number // QUESTIONS_PER_IMAGE, draw.choice(WORDS)
    answers = [common if draw.random() < 0.7 else draw.choice(WORDS) for _ in range(10)]
    return {
        "question_type": "what is",
        "multiple_choice_answer": common,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": at} for at, answer in enumerate(answers, 1)
        ],
        "image_id": image_id,
        "answer_type": "other",
        "question_id": image_id * 1000 + number % QUESTIONS_PER_IMAGE,
        "question": f"What is {'really ' * (number % 7)}in picture {image_id}?",
        "image": {
            "bytes": distinct(pictures[image_id % len(pictures)], image_id),
            "path": f"COCO_val2014_{image_id:012}.jpg",
        },
    }


def make_data(root: Path, rows: int) -> None:
    """Writes the split in a few files of small row groups."""
    folder, draw, shown = root / NAME, random.Random(0), pictures()
    folder.mkdir(parents=True)
    per_file = -(-rows // FILES)
    for at, first in enumerate(range(0, rows, per_file)):
        numbers = range(first, min(first + per_file, rows))
        path = folder / f"validation-{at:05}-of-{FILES:05}.parquet"
        with pq.ParquetWriter(path, schema(shown, draw), compression="none", use_dictionary=False) as writer:
            for start in range(0, len(numbers), GROUP_ROWS):
                group = [row(number, shown, draw) for number in numbers[start : start + GROUP_ROWS]]
                writer.write_table(pa.Table.from_pylist(group, writer.schema))


def schema(pictures: list[bytes], draw: random.Random) -> pa.Schema:
    """That of the rows."""
    return pa.Table.from_pylist([row(0, pictures, draw)]).schema


def make_model(folder: Path) -> None:
    """A tiny one; no replica loads it."""
    save_model(folder, "llava")
    (folder / "rss").mkdir()


class Instant(Replica):
    """Answers at once, and notes its RSS beside the model."""

    decode = False

    def load(self) -> None:
        """Nothing to load."""

    def run(self, batch: Batch) -> Iterator[list[ReplyRecord]]:
        """One list for the batch."""
        if self.decode:
            location = self._job.locations[batch.benchmark]
            wanted = frozenset(entry.row for entry in batch.entries)
            for _, doc in read(location, batch.part, rows=wanted):
                decode_all(images_of(location, doc), LIMITS)
        with self._device, (Path(self._job.model) / "rss" / ray.get_runtime_context().get_actor_id()).open("a") as log:
            log.write(f"{rss()}\n")
            said = [WORDS[entry.row % len(WORDS)] for entry in batch.entries]
            yield [
                record_of(batch, entry, self._job, reply=reply, finish="stop")
                for entry, reply in zip(batch.entries, said, strict=True)
            ]


class Decoding(Instant):
    """Reads and decodes its images first."""

    decode = True


def rss() -> float:
    """Of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MiB


class Phases:
    """Seconds in functions by phase, of the clock and of this process, and its memory after each."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self.memory: dict[str, tuple[float, float]] = {}

    def of(self, name: str, function: Callable[P, T]) -> Callable[P, T]:
        """The same function, timed."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            began, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - began
                self.cpu_seconds[name] += time.process_time() - cpu
                self.memory[name] = rss(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        return timed

    def watch(self, owner: Any, attribute: str, name: str, function: Callable[..., Any]) -> None:
        """Puts a function, timed, where its callers look it up."""
        setattr(owner, attribute, self.of(name, function))

    def tell(self, rows: int) -> None:
        """Prints a table."""
        print("phase          |       s | driver CPU s | samples/s | RSS after, MiB | peak so far, MiB")
        for name, seconds in self.seconds.items():
            after, peak = self.memory[name]
            speed = f"{rows / seconds:,.0f}" if seconds > 0.01 else ""
            times = f"{seconds:7.1f} | {self.cpu_seconds[name]:12.1f} | {speed:>9}"
            print(f"{name:14} | {times} | {after:14,.0f} | {peak:16,.0f}")


def call(root: Path, rows: int, cpus: int, replica: ReplicaConfig, decode: bool) -> None:
    """One evaluation, measured."""
    suite.BENCHMARKS[NAME] = replace(benchmark(NAME), count=rows)
    phases = Phases()
    phases.of("imports", lambda: None)()
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="warning")
    phases.of("cluster", lambda: None)()
    for owner, attribute, name in (
        (run, "require", "check"), (replicas.Replicas, "scan", "scan"), (Store, "keys", "what is done"),
        (replicas, "plan", "plan"), (Scorer, "score", "scores, tables"),
    ):  # fmt: skip
        phases.watch(owner, attribute, name, getattr(owner, attribute))
    phases.watch(replicas, "run_pool", "pool", partial(run_pool, replica_class=Decoding if decode else Instant))
    config = EvaluationConfig(
        model=str(root / "model"),
        output=str(root / "output"),
        benchmarks=(NAME,),
        data_root=str(root / "data"),
        replica=replica,
    )
    output = phases.of("whole call", run.evaluate)(config)
    ray.shutdown()
    phases.tell(rows)
    print(
        f"{output.rows[0].title}: {output.rows[0].value} ± {output.rows[0].standard_error}, {output.rows[0].n_scored}"
    )


def tell_replicas(folder: Path) -> None:
    """Prints RSS of each replica at the first batch, after a third of them, two thirds and all."""
    for file in sorted(folder.iterdir()):
        seen = [float(line) for line in file.read_text().split()]
        at = [seen[min(len(seen) - 1, max(0, len(seen) * third // 3))] for third in range(4)]
        print(f"replica RSS over {len(seen):,} batches, MiB: " + " ".join(f"{one:.0f}" for one in at))


def weigh(folder: Path) -> str:
    """What lies in a folder, by its first level."""
    sizes: Counter[str] = Counter()
    for file in folder.rglob("*"):
        if file.is_file():
            sizes[file.relative_to(folder).parts[0]] += file.stat().st_size
    return ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sorted(sizes.items()))


def main() -> None:
    """Runs everything, or, with `--call`, one call on data that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=214354)
    parser.add_argument("--decode", action="store_true", help="replicas read and decode their images")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where some 550 MB may lie for the while")
    parser.add_argument("--cpus", type=int, default=3, help="of the local cluster")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--call", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.call:
        replica = ReplicaConfig(count=arguments.replicas, gpus=0, cpus=1, batch_size=arguments.batch_size)
        call(Path(arguments.folder), arguments.rows, arguments.cpus, replica, arguments.decode)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="evaluation-") as folder:
        root = Path(folder)
        make_data(root / "data", arguments.rows)
        make_model(root / "model")
        print(f"{arguments.rows:,} rows: {weigh(root / 'data')}", flush=True)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in vars(arguments).items()
                   if name not in ("decode", "call", "folder")]  # fmt: skip
        options += ["--decode"] * arguments.decode
        for _ in range(2):
            subprocess.run([sys.executable, "-m", __spec__.name, "--call", f"--folder={root}", *options], check=True)
        tell_replicas(root / "model" / "rss")
        print(f"output: {weigh(root / 'output')}")


if __name__ == "__main__":
    main()
