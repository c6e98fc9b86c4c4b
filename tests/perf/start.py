"""From a command to its first step, fresh and resumed, against a bare script; and what a trial takes beyond training.

    python -m tests.perf.start [--rounds 3] [--trials 4]

`cli-ray train` runs on a warm cluster of this machine: its nodes are up, and a run has been there before. The bare
script trains the same tiny LLaVA with injection on samples of the same shards: torch, transformers and DeepSpeed in one
process, without Ray, checks, index and run folder; resumed, it restores DeepSpeed's own checkpoint. Both are measured
in turn, from the start of the process to the end of the first optimiser step. A trial's overhead is what a sweep of one
trial at a time takes from the end of a trial to the end of the next, without the steps and their wait for data.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

from cli_ray.config import RunConfig
from cli_ray.config.load import load
from cli_ray.drill.plan import Room
from cli_ray.drill.site import Site
from cli_ray.text import grid
from tests.drills.command import Command
from tests.drills.quiet import be_quiet
from tests.drills.sweep import write_sweep

RATES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
TRIAL_STEPS = 20
RUN_STEPS = 100_000
"""Of a run, which is stopped long before."""
PATIENCE_S = 300.0
HEAD = ("start", "bare script s", "cli-ray train s", "ratio")


def train_bare(config: RunConfig, saved: Path) -> None:
    """The bare script: one optimiser step, from the checkpoint in a folder where there is one; writes one else."""
    import torch

    from cli_ray.data.collate import collate, normalize
    from cli_ray.data.encoder import Encoder
    from cli_ray.data.readers import READERS
    from cli_ray.data.sample import Encoded
    from cli_ray.data.source import open_source, read_samples
    from cli_ray.model.build import build_model, load_processor
    from cli_ray.train.deepspeed_private import import_deepspeed
    from cli_ray.train.engine import deepspeed_config, parameter_groups

    deepspeed = import_deepspeed(torch.device("cpu"))
    processor = load_processor(config.model)
    images = processor.image_processor
    encoder = Encoder(processor, config.data)
    model = build_model(config.model, config.injection, config.lora, dtype=torch.float32, seed=config.seed)
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    deepspeed.init_distributed("gloo")
    optimizer = torch.optim.AdamW(parameter_groups(model, config.optim))
    size, accumulation = config.train.micro_batch_size, config.train.global_batch_size // config.train.micro_batch_size
    settings = deepspeed_config(config) | {"gradient_accumulation_steps": accumulation}
    engine, *_ = deepspeed.initialize(model=model.train(), optimizer=optimizer, config=settings)
    if saved.exists():
        engine.load_checkpoint(str(saved))
    source = open_source(config.data.sources[0])
    shard = source.shards[0]
    spans = READERS[source.format].spans(shard, config.data.unit_samples)
    rows = (encoder(sample) for span in spans for sample in read_samples(source, shard.path, span, 0, encoder.limits))
    for _ in range(accumulation):
        batch = collate(
            [row for row in islice(rows, size) if isinstance(row, Encoded)], encoder.pad_token_id, encoder.tiled
        )
        pixels = normalize(batch.inputs["pixel_values"], images.image_mean, images.image_std, torch.float32)
        inputs = batch.inputs | {"pixel_values": pixels, "turn_ids": batch.turn_ids, "labels": batch.labels}
        engine.backward(engine(**inputs, use_cache=False).loss)
        engine.step()
    print("step", flush=True)
    if not saved.exists():
        engine.save_checkpoint(str(saved))


def bare_s(folder: Path) -> float:
    """Seconds that the bare script takes to its first step."""
    began = time.monotonic()
    words = [sys.executable, "-m", "tests.perf.start", "--bare", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        if not any(line == "step\n" for line in process.stdout):
            raise RuntimeError(f"the bare script failed: {' '.join(words)}")
        return time.monotonic() - began


def run_s(site: Site, folder: Path, runs: Path) -> float:
    """Seconds that `cli-ray train` takes to the next step of a run, which is then stopped after a checkpoint."""
    metrics = runs / "run" / "metrics.jsonl"
    words = ["train", str(folder / "run.toml"), "--name", "run", "--runs-dir", str(runs)]
    before = steps_of(metrics)
    command = Command(site, [*words, "--train.max-steps", str(RUN_STEPS)], folder / "run.log", PATIENCE_S)
    took = command.until(lambda: steps_of(metrics) > before)
    command.driver.send_signal(signal.SIGTERM)
    command.until(lambda: command.driver.poll() is not None)
    return took


def steps_of(metrics: Path) -> int:
    """Steps in the whole lines of metrics.jsonl."""
    return metrics.read_text().count("\n") if metrics.exists() else 0


def overhead_s(site: Site, folder: Path) -> float:
    """Seconds from the end of a trial to the end of the next, without its steps and their wait for data; median."""
    words = ["tune", str(folder / "rates.toml"), "--sweeps-dir", str(folder / "sweeps"), "--max-concurrent", "1"]
    command = Command(site, words, folder / "sweep.log", PATIENCE_S)
    command.until(lambda: command.driver.poll() == 0)
    ends = {path.parent: path.stat().st_mtime for path in folder.glob("sweeps/rates/trials/*/outcome.json")}
    runs = sorted(ends, key=ends.__getitem__)
    return median(ends[run] - ends[before] - training_s(run) for before, run in pairwise(runs))


def training_s(run: Path) -> float:
    """The steps of a run with their wait for data."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return sum(float(row["step_ms"] + row["data_wait_ms"]) for row in rows if "step_ms" in row) / 1e3


def measured(site: Site, folder: Path, rounds: int) -> str:
    """A table with a line for a fresh and a resumed start, and the overhead of a trial."""
    run_s(site, folder, folder / "before")
    bare: dict[str, list[float]] = {"fresh": [], "resumed": []}
    runs: dict[str, list[float]] = {"fresh": [], "resumed": []}
    for number in range(rounds):
        for start in bare:
            bare[start].append(bare_s(folder))
            runs[start].append(run_s(site, folder, folder / f"runs{number}"))
            print(f"{start}: bare script {bare[start][-1]:.1f} s, cli-ray train {runs[start][-1]:.1f} s", flush=True)
        (folder / "saved").rename(folder / f"saved{number}")
    pairs = {start: (median(bare[start]), median(runs[start])) for start in bare}
    lines = [[start, f"{b:.1f}", f"{r:.1f}", f"{r / b:.2f}"] for start, (b, r) in pairs.items()]
    return grid(HEAD, lines, left=1)


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=4, choices=range(len(RATES) + 1), help="0 for no sweep")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    be_quiet()
    if arguments.bare:
        train_bare(load(str(arguments.bare / "run.toml"), []), arguments.bare / "saved")
        return
    site = Site([Room(3)])
    with tempfile.TemporaryDirectory(prefix="start") as name:
        folder = Path(name)
        write_sweep(folder, RATES[: arguments.trials] or RATES, TRIAL_STEPS, TRIAL_STEPS)
        try:
            print(measured(site, folder, arguments.rounds), flush=True)
            if arguments.trials:
                print(f"\na trial takes {overhead_s(site, folder):.1f} s beyond its training")
        finally:
            site.close()


if __name__ == "__main__":
    main()
