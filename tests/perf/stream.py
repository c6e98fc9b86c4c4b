"""What a sample costs in the stream, beside what people would use instead: CPU time, bytes, waiting for slow shards.

    python -m tests.perf.stream [--rounds 5] [--family llava llava_onevision] [--skip waiting]

`cpu`: CPU ms a sample of all processes at work, Ray's own included, less what the cluster spends when it is left alone.
Each way reads the same samples once a round, in turn with the others, and ratios are medians over the rounds:

- `stream`: `Stream` by Ray Data, from the shards to micro-batches
- `loader`: a torch `DataLoader` with the same encoder and the same micro-batches, over the same units
- `processor`: a torch `DataLoader` that calls the Hugging Face processor on a batch, as its documentation does
- `pillow`: decoding and the resizing that the processor does, by Pillow in this process, and nothing else

`waiting`: the share of its time that a rank waits for data, where it trains on --pace samples a second; with reads that
take no time, and with reads of 50 ms each. The first step is left out.

The photographs of CLI_RAY_SHARED are read, as often as an epoch of several windows needs, or drawn pictures where they
are not at hand; sizes of images are those of the published models, 336 pixels and tiles of 384 in 6 x 6.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers.image_processing_utils import select_best_resolution

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.costs.tiny import TinySize
from cli_ray.data.collate import MicroBatch, collate
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index, build_index
from cli_ray.data.readers import Span
from cli_ray.data.reading import Task, run, to_table
from cli_ray.data.sample import Encoded, Sample
from cli_ray.data.source import read_samples
from cli_ray.data.stream import Stream
from cli_ray.model.tiny import tiny_processor
from tests.perf.scaling_costs import synthesized_shard
from tests.processes import descendants
from tests.shared import SHARED

PHOTOS = SHARED / "data" / "photos"
MICRO_BATCH, STEP = 4, 16
"""Samples."""
WORKERS = 2
"""Reading processes of each way."""
READ_S = 0.05
"""Of a slow read."""
IDLE_S = 3.0
"""For which all processes are left alone, to see what they spend then."""
SIZES = {"llava": TinySize(image_size=336, patch_size=14), "llava_onevision": TinySize(image_size=384, patch_size=14)}


@dataclass(frozen=True)
class Data:
    """A source as a family reads it."""

    family: str
    path: str
    windows: int
    """Of an epoch, of the default size."""

    @cached_property
    def config(self) -> DataConfig:
        """An epoch of so many windows, in which nothing is too long."""
        once = DataConfig(sources=(SourceConfig(path=self.path),), max_length=2**17)
        weight = self.windows * once.window_samples / build_index(once).num_samples
        source = SourceConfig(path=self.path, prompt="Describe the image.", weight=weight)
        return DataConfig(sources=(source,), max_length=once.max_length)

    @cached_property
    def index(self) -> Index:
        """Of the source."""
        return build_index(self.config)

    @cached_property
    def processor(self) -> Any:
        """That of a tiny model with the images of the published one."""
        processor = tiny_processor(self.family, SIZES[self.family])
        if self.family == "llava_onevision":
            sides = range(384, 7 * 384, 384)
            processor.image_processor.image_grid_pinpoints = [[height, width] for height in sides for width in sides]
        return processor

    @cached_property
    def encoder(self) -> Encoder:
        """For the processor."""
        return Encoder(self.processor, self.config)

    def stream(self) -> Stream:
        """That of a single rank."""
        return Stream(
            self.index,
            self.config,
            self.encoder,
            seed=0,
            lanes=1,
            rank=0,
            world_size=1,
            micro_batch_size=MICRO_BATCH,
            global_batch_size=STEP,
        )

    def tasks(self) -> list[Task]:
        """The units of an epoch in the order of the stream."""
        order = self.stream().order
        pieces = [piece for window in range(order.windows()) for piece in order.pieces(0, 0, window)]
        return [Task.of(self.index, piece) for piece in pieces]

    def samples(self, task: Task) -> Iterator[Sample]:
        """Those of a unit, not decoded."""
        span = Span(task.start, task.end, task.count, task.broken, task.damage, task.lost)
        source, limits = self.index.sources[task.source], self.encoder.limits
        for sample in read_samples(source, task.path, span, task.first, limits, task.low, task.high):
            assert isinstance(sample, Sample), sample
            yield sample


class Units(Dataset[list[Any]]):
    """A list of micro-batches for each unit, made by `make`."""

    def __init__(self, data: Data, make: Callable[[Data, Task], list[Any]]) -> None:
        self.data, self.tasks, self.make = data, data.tasks(), make

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, number: int) -> list[Any]:
        return self.make(self.data, self.tasks[number])


def by_the_encoder(data: Data, task: Task) -> list[MicroBatch]:
    """As the stream makes them, cut without a window."""
    rows = [row for row in run(task, data.index.sources, data.encoder) if isinstance(row, Encoded)]
    groups = [rows[i : i + MICRO_BATCH] for i in range(0, len(rows), MICRO_BATCH)]
    return [collate(group, data.encoder.pad_token_id, data.encoder.tiled) for group in groups]


def by_the_processor(data: Data, task: Task) -> list[Any]:
    """The processor on batches of chats; labels are the ids without padding, so that nobody looks for replies."""
    samples, processor = list(data.samples(task)), data.processor
    batches = []
    for i in range(0, len(samples), MICRO_BATCH):
        group = samples[i : i + MICRO_BATCH]
        chats = [[{"role": m.role, "content": m.content} for m in sample.messages] for sample in group]
        images = [[Image.open(io.BytesIO(image)).convert("RGB") for image in sample.images] for sample in group]
        batch = processor(
            text=[processor.apply_chat_template(chat) for chat in chats],
            images=images if data.encoder.tiled else [image for some in images for image in some],
            padding=True,
            return_tensors="pt",
        )
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        batches.append(dict(batch))
    return batches


def by_pillow(data: Data) -> int:
    """Decodes and resizes each image as often as the processor does."""
    count = 0
    for task in data.tasks():
        for sample in data.samples(task):
            for image in sample.images:
                resize(Image.open(io.BytesIO(image)).convert("RGB"), data)
            count += 1
    return count


def resize(image: Image.Image, data: Data) -> None:
    """To LLaVA's shorter side; or to OneVision's grid and thumbnail."""
    side = SIZES[data.family].image_size
    if data.family == "llava":
        factor = side / min(image.size)
    else:
        grid = data.processor.image_processor.image_grid_pinpoints
        height, width = select_best_resolution((image.height, image.width), grid)
        factor = min(width / image.width, height / image.height)
        image.resize((side, side), Image.Resampling.BICUBIC)
    image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def by_the_stream(data: Data) -> int:
    """An epoch."""
    return sum(len(batch.ids) for share in data.stream().iterate(0) for batch in share.micro_batches())


def by_a_loader(loader: "DataLoader[list[Any]]") -> int:
    """An epoch."""
    return sum(
        len(batch.ids if isinstance(batch, MicroBatch) else batch["labels"]) for unit in loader for batch in unit
    )


def loader_of(data: Data, make: Callable[[Data, Task], list[Any]]) -> "DataLoader[list[Any]]":
    """With processes that stay, as Ray's do."""
    return DataLoader(
        Units(data, make),
        batch_size=None,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context="spawn",  # Ray's threads do not survive a fork
    )


def cpu_s() -> float:
    """CPU seconds so far of this process and of all that came of it."""
    total = 0
    for pid in [os.getpid(), *descendants([os.getpid()])]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile, and its parent counts it
            continue
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def busy_s(work: Callable[[], int | None], idle: float = 0.0) -> tuple[float, int | None]:
    """CPU seconds of all processes for `work`, less `idle` of them a second, and what it returns."""
    before, start = cpu_s(), time.perf_counter()
    result = work()
    return cpu_s() - before - idle * (time.perf_counter() - start), result


def tell_cpu(data: Data, rounds: int) -> None:
    """CPU ms of each way, and the ratios of the stream to each."""
    loaders = {"loader": loader_of(data, by_the_encoder), "processor": loader_of(data, by_the_processor)}
    ways: dict[str, Callable[[], int]] = {
        "stream": partial(by_the_stream, data),
        **{name: partial(by_a_loader, loader) for name, loader in loaders.items()},
        "pillow": partial(by_pillow, data),
    }
    counts = {name: work() for name, work in ways.items()}  # once, so that processes start and import
    assert len(set(counts.values())) == 1, counts
    idle = busy_s(partial(time.sleep, IDLE_S))[0] / IDLE_S
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            seconds, _ = busy_s(work, idle)
            spent[name].append(seconds / counts[name] * 1e3)
    print(f"  idle processes took {idle:.1%} of a core, which is taken off")
    for name, values in spent.items():
        ratio = median(own / other for own, other in zip(spent["stream"], values, strict=True))
        print(f"  {name:10}{median(values):7.2f} ms a sample   stream / {name}: {ratio:.2f}")


def tell_bytes(data: Data) -> None:
    """What goes through the object store for a sample, and what of it are pixels."""
    tasks = data.tasks()[:8]
    rows = [[row for row in run(task, data.index.sources, data.encoder) if isinstance(row, Encoded)] for task in tasks]
    count = sum(map(len, rows))
    stored = sum(to_table(some).nbytes for some in rows) / count
    pixels = sum(image.nbytes for some in rows for row in some for image in row.images) / count
    encoded = sum(len(image) for task in tasks for sample in data.samples(task) for image in sample.images) / count
    print(f"  {stored / 1e6:.3f} MB a sample, of which pixels {pixels / 1e6:.3f}; its file has {encoded / 1e6:.3f}")


def tell_waiting(data: Data, pace: float) -> None:
    """The share of a rank's time that it waits for data, behind a step of sleep."""
    waited = took = 0.0
    steps = data.stream().iterate(0)
    next(steps)
    while True:
        start = time.perf_counter()
        if next(steps, None) is None:
            break
        waited += time.perf_counter() - start
        time.sleep(STEP / pace)
        took += time.perf_counter() - start
    print(f"  {waited / took:.2%} of {took:.1f} s, {pace:g} samples/s")


class SlowFile:
    """A file each of whose reads takes `READ_S`."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> "SlowFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def size(self) -> int:
        """Of the file."""
        return int(self._file.size())

    def read_at(self, count: int, start: int) -> bytes:
        """As NativeFile."""
        time.sleep(READ_S)
        return bytes(self._file.read_at(count, start))


def read_slowly() -> None:
    """Makes the tar files that this process opens slow; run by Ray in each worker."""
    from cli_ray.data.readers import webdataset
    from cli_ray.storage.files import open_file

    vars(webdataset)["open_file"] = lambda path: SlowFile(open_file(path))


@contextmanager
def cluster(slow: bool) -> Iterator[None]:
    """Ray with as many CPUs as each way has processes."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # else it leaves a token in the home
    os.environ |= {"RAY_worker_niceness": "0"}  # as the others, which would go first
    import ray

    hook = {"worker_process_setup_hook": read_slowly} if slow else {}
    with tempfile.TemporaryDirectory(prefix="st", dir="/tmp") as scratch:
        ray.init(
            address="local",
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env=hook,
            _temp_dir=scratch,
        )
        try:
            yield
        finally:
            ray.shutdown()


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=3, help="of an epoch, which each way reads once a round")
    parser.add_argument("--family", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--pace", type=float, default=40.0, help="samples that a rank trains on in a second")
    parser.add_argument("--skip", nargs="*", choices=("cpu", "waiting"), default=())
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="st") as folder:
        path = PHOTOS if PHOTOS.exists() else synthesized_shard(Path(folder), 256, 480)
        for family in chosen.family:
            data = Data(family, str(path), chosen.windows)
            print(f"{family}, {path.name}")
            tell_bytes(data)
            if "cpu" not in chosen.skip:
                with cluster(slow=False):
                    tell_cpu(data, chosen.rounds)
            for slow in (False, True) if "waiting" not in chosen.skip else ():
                print(f"  waiting for {'slow' if slow else 'fast'} shards:", end="")
                with cluster(slow):
                    tell_waiting(data, chosen.pace)


if __name__ == "__main__":
    main()
