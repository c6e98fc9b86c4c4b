"""What safety costs: step time with the ledger and background checkpoints against without, as a ratio.

    python -m tests.perf.safety [--rounds 3] [--width 256] [--every 50]

One rank trains a LLaVA of random weights with injection on the same batch again and again, in the real loop. Rounds
of `--every` steps with and without take turns; a round with safety writes one checkpoint, in its middle, so that all
of its background work falls into it.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import cast

import numpy as np
import torch
import torch.distributed as dist

from cli_ray.config import RunConfig
from cli_ray.data.reads import Reads
from cli_ray.data.sample import Encoded
from cli_ray.data.share import Cut, Share
from cli_ray.data.stream import Stream
from cli_ray.model.tiny import tiny_processor
from cli_ray.train.callbacks.checkpointer import Checkpointer
from cli_ray.train.callbacks.ledger import Ledger
from cli_ray.train.checkpoint.files import Progress, complete_checkpoints
from cli_ray.train.engine import Engine
from cli_ray.train.health.heartbeat import Heartbeat
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import RunFolder
from tests.perf.injection import Shape, build, inputs_of, with_injection

SUPERVISED = 32


class Clock(Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        self.times.append(time.perf_counter())


@dataclass
class Same:
    """A stream whose every step is the same."""

    share: Share
    epoch: int = 0
    epoch_step: int = 0
    steps_per_epoch: int = 1000
    state: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Share]:
        while True:
            yield self.share

    def awaited(self) -> str:
        return "nothing"

    def take_reads(self) -> Reads:
        return Reads()

    def state_dict(self) -> dict[str, int]:
        return self.state


def share_of(shape: Shape, samples: int) -> Share:
    """One image and 64 tokens of text a sample."""
    inputs = inputs_of(shape, samples, "cpu", torch.float32)
    labels = inputs.pop("labels")
    pixels = (inputs["pixel_values"].clamp(-2, 2) * 60 + 128).to(torch.uint8)
    turns = (labels != -100).cumsum(1)
    ids_BT, labels_BT, turns_BT = (x.numpy().astype(np.int32) for x in (inputs["input_ids"], labels, turns))
    size = np.array([[336, 336]], np.int32)
    rows = []
    for i in range(samples):
        name, images = f"shard-{i:05d}.tar#{i}:{i:09d}", [pixels[i : i + 1].numpy()]
        rows.append(Encoded(name, "images", ids_BT[i], labels_BT[i], images, size, turns_BT[i]))
    return Share([Cut(rows, (0, 0))])


def config_of(folder: Path, samples: int, every: int) -> RunConfig:
    """A run that checkpoints in the middle of a round."""
    rate = {"lr": 1e-4}
    return RunConfig.model_validate(
        {
            "name": "safety",
            "runs_dir": str(folder),
            "model": {"checkpoint": "tiny"},
            "data": {"sources": [{"path": "none", "name": "images"}]},
            "optim": dict.fromkeys(("projector", "amp", "agf", "llm"), rate),
            "train": {"global_batch_size": samples, "micro_batch_size": samples, "precision": "fp32"},
            "checkpoint": {"every": every},
            "cluster": {"gpus_per_worker": 0},
        }
    )


def run(engine: Engine, config: RunConfig, share: Share, callbacks: list[Callback], steps: int) -> list[float]:
    """Seconds of each step of a round."""
    clock = Clock()
    heartbeat = cast(Heartbeat, SimpleNamespace(at=lambda *place: None, step=0, stop_reason=None))
    loop = TrainLoop(
        config=config,
        engine=engine,
        stream=cast(Stream, Same(share)),
        folder=RunFolder(config.folder),
        callbacks=[*callbacks, clock],
        heartbeat=heartbeat,
        total_steps=10**9,
        rank=0,
        world_size=1,
        progress=Progress(step=config.checkpoint.every - steps // 2),
    )
    loop.total_steps = loop.progress.step + steps
    start = time.perf_counter()
    loop.fit()
    return [end - begin for begin, end in zip([start, *clock.times], clock.times, strict=False)]


def main() -> None:
    """Prints the ratio of the means, of the medians, and the step that takes the snapshot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--every", type=int, default=50)
    arguments = parser.parse_args()
    shape = Shape(arguments.width, 11 * arguments.width // 4, 9, 4, 1024, 128, 10, 4)
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        print(report(shape, Path(folder), arguments.samples, arguments.every, arguments.rounds))


def report(shape: Shape, folder: Path, samples: int, every: int, rounds: int) -> str:
    """Runs the rounds in turn."""
    config = config_of(folder, samples, every)
    engine = Engine(
        with_injection(build(shape, "cpu", torch.float32)), tiny_processor("llava"), config, torch.device("cpu")
    )
    share = share_of(shape, samples)
    run(engine, config, share, [], 4)
    times: dict[bool, list[list[float]]] = {False: [], True: []}
    for number in range(2 * rounds):
        safe = number % 2 == 1
        times[safe].append(run(engine, config, share, callbacks() if safe else [], every))
    plain, safe_times = ([second for one in times[safe] for second in one] for safe in (False, True))
    checkpoint = complete_checkpoints(RunFolder(config.folder))[-1]
    size = sum(file.size for file in checkpoint.files.values())
    taken = [one[every // 2 - 1] for one in times[True]]
    return (
        f"{rounds} rounds of {every} steps each way, checkpoint of {size / 2**20:.1f} MiB\n"
        f"step, mean:   {1e3 * sum(plain) / len(plain):.1f} ms without, {1e3 * sum(safe_times) / len(safe_times):.1f} "
        f"ms with: {sum(safe_times) / sum(plain):.4f}x\n"
        f"step, median: {1e3 * median(plain):.1f} ms without, {1e3 * median(safe_times):.1f} ms with: "
        f"{median(safe_times) / median(plain):.4f}x\n"
        f"step that takes the snapshot: {1e3 * median(taken):.1f} ms"
    )


def callbacks() -> list[Callback]:
    """All that makes a run safe."""
    ledger = Ledger()
    return [ledger, Checkpointer(ledger)]


if __name__ == "__main__":
    main()
