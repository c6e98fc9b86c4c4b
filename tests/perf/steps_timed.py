"""Two ranks that train on mixed lengths over gloo with ZeRO-2, by one order of the samples and another, in turn.

    python -m tests.perf.steps_timed [--steps 12]

A small LLaVA on drawn tokens: texts of log-normal length (median 150, sigma 0.9), one sample in ten without an image,
16 samples a rank and step. Of each run: real tokens a second by the clock; the share of a rank's time that its thread
spends without a CPU, in which it waits for the other rank, for what gloo exchanges, or, on a busy machine, for the
processor; and by CPU seconds alone, which nobody else disturbs, how long a step takes if ranks meet at every
micro-batch or pack, relative to perfect balance. Samples of equal lengths, with the mean of the mixed ones, show how
much of that is no matter of order: their ranks have nothing to wait for but the exchange.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from cli_ray.config import DataConfig, RunConfig
from cli_ray.costs.tiny import TinySize
from cli_ray.data.cost import SampleCost
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import IGNORED, Encoded, Row
from cli_ray.data.stream import Stream, Windows
from cli_ray.model import attach
from cli_ray.model.cost import step_costs
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.train.engine import Engine
from tests.perf.ledger import made_index
from tests.train.ranks import on_ranks

SIZE = TinySize(decoder_width=128, decoder_layers=6)
RANKS, MICRO_BATCH, SHARE, LONGEST = 2, 4, 16, 1500
RATE = {"lr": 1e-4}
CONFIG = RunConfig.model_validate(
    {
        "name": "steps",
        "model": {"checkpoint": "tiny"},
        "injection": {"vision_layers": {"count": 3}, "decoder_layers": {"count": 3}, "agf": {"num_heads": 2}},
        "data": {"sources": [{"path": "drawn"}], "max_length": 2048},
        "optim": {"projector": RATE, "amp": RATE, "agf": RATE, "llm": RATE},
        "train": {"global_batch_size": RANKS * SHARE, "micro_batch_size": MICRO_BATCH, "precision": "fp32"},
        "cluster": {"num_workers": RANKS, "gpus_per_worker": 0},
    }
)
EQUAL_TOKENS = 222
"""Of samples of equal lengths."""


@dataclass(frozen=True)
class Setting:
    """How samples come to a step."""

    is_levelled: bool
    is_packed: bool
    is_mixed: bool = True


SETTINGS = {
    "micro-batches shuffled (0.1.0)": Setting(is_levelled=False, is_packed=False),
    "levelled": Setting(is_levelled=True, is_packed=False),
    "levelled, packed": Setting(is_levelled=True, is_packed=True),
    "levelled, packed, equal lengths": Setting(is_levelled=True, is_packed=True, is_mixed=False),
}


def row(number: int, image_token: int, is_mixed: bool) -> Encoded:
    """A drawn sample, the second half of whose text is supervised."""
    draw = np.random.default_rng(number)
    text, shown = int(np.clip(draw.lognormal(np.log(150), 0.9), 8, LONGEST)), draw.random() >= 0.1
    if not is_mixed:
        text, shown = EQUAL_TOKENS - SIZE.patches, True
    ids = draw.integers(10, 200, SIZE.patches * shown + text, dtype=np.int32)
    ids[: SIZE.patches * shown] = image_token
    labels = ids.copy()
    labels[: len(ids) - text // 2] = IGNORED
    images = [draw.integers(0, 256, (1, 3, SIZE.image_size, SIZE.image_size), dtype=np.uint8)] if shown else []
    turns = (labels != IGNORED).astype(np.int32)
    return Encoded(
        str(number), "drawn", ids, labels, images, np.full((len(images), 2), SIZE.image_size, np.int32), turns
    )


def trained(name: str, steps: int) -> dict[str, float | list[list[float]]]:
    """Trains; wall seconds and tokens, and CPU seconds of each micro-batch of each step of this rank."""
    setting = SETTINGS[name]
    train = CONFIG.train.model_copy(update={"packing": setting.is_packed, "pack_tokens": 2048})
    config = CONFIG.model_copy(update={"train": train})
    processor = tiny_processor("llava", SIZE)
    model = attach(build_tiny("llava", 0, SIZE), CONFIG.injection)
    costs = SampleCost(**step_costs(model.config, model.config.injection, CONFIG))
    image_token = model.config.image_token_id

    def read(windows: Windows) -> Iterator[list[Row]]:
        for tasks in windows:
            numbers = (task.first + i for task in tasks for i in range(task.low, task.high))
            yield [row(number, image_token, setting.is_mixed) for number in numbers]

    stream = Stream(
        made_index(10_000),
        DataConfig(sources=CONFIG.data.sources),
        Encoder(processor, CONFIG.data),
        seed=0,
        lanes=RANKS,
        rank=dist.get_rank(),
        world_size=RANKS,
        micro_batch_size=MICRO_BATCH,
        global_batch_size=RANKS * SHARE,
        cost=costs if setting.is_levelled else None,
        read=read,
    )
    engine = Engine(model, processor, config, torch.device("cpu"))
    wall, cpu, tokens = 0.0, [], 0
    for number, share in zip(range(steps + 1), stream, strict=False):
        marks = list[float]()

        def mark(_: str, marks: list[float] = marks) -> None:
            marks.append(time.thread_time())

        dist.barrier()
        start = time.perf_counter()
        result = engine.train_step(share, number, 1.0, on_pass=mark)
        mark("end")
        if number:  # the first step sets things up
            wall += time.perf_counter() - start
            cpu.append(np.diff(marks).tolist())
            tokens += result.tokens
    return {"wall": wall, "tokens": tokens, "cpu": cpu}


def main() -> None:
    """Prints a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    steps = parser.parse_args().steps
    print("| samples | real tokens/s | waits | step over perfect balance |\n| --- | ---: | ---: | ---: |")
    for name in [*SETTINGS] * 2:
        ranks = on_ranks(RANKS, trained, name, steps)
        cpu_RSM = np.array([rank["cpu"] for rank in ranks])
        wall = max(rank["wall"] for rank in ranks)
        waits = 1 - cpu_RSM.sum() / RANKS / wall
        balance = cpu_RSM.max(0).sum() / cpu_RSM.mean(0).sum()
        print(f"| {name} | {ranks[0]['tokens'] / wall:,.0f} | {waits:.0%} | {balance:.2f} |", flush=True)


if __name__ == "__main__":
    main()
