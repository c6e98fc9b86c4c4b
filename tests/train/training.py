"""The parts of a training of six steps by two ranks: data, config, and what must be the same after every restart."""

import json
from pathlib import Path
from typing import Any

from cli_ray.config import RunConfig
from cli_ray.data.synthetic import synthesize, write_parquet, write_tar
from cli_ray.train.rank_table import TIMES

STEPS = 6


def config_of(shards: Path, runs: Path, **changes: Any) -> RunConfig:
    """The config of the run over the data in a folder; `changes` replace whole sections."""
    rate = {"lr": 1e-3}
    values: dict[str, Any] = {
        "name": "run",
        "runs_dir": str(runs),
        "model": {"checkpoint": "tiny"},
        "injection": {
            "vision_layers": {"count": 3},
            "decoder_layers": {"count": 2},
            "amp": {"rank": 4},
            "agf": {"num_heads": 2, "hidden_size": 8},
        },
        "data": {
            "sources": [
                {"path": str(shards / "tar"), "name": "tar"},
                {"path": str(shards / "parquet"), "name": "parquet"},
            ],
            "max_length": 256,
            "unit_samples": 4,
            "window_samples": 16,
        },
        "validation": {
            "sources": [{"path": str(shards / "held-out"), "name": "held-out"}],
            "every": 3,
            "max_samples": 8,
        },
        "optim": dict.fromkeys(("vision_tower", "projector", "amp", "agf", "llm"), rate),
        "train": {
            "global_batch_size": 8,
            "micro_batch_size": 2,
            "epochs": 2,
            "max_steps": STEPS,
            "precision": "fp32",
            "pack_tokens": 256,
        },
        "checkpoint": {"every": 3, "keep_last": 2, "keep_best": 1},
        "cluster": {"num_workers": 2, "gpus_per_worker": 0, "max_failures": 0},
    }
    return RunConfig.model_validate(values | changes)


def write_data(folder: Path) -> None:
    """40 samples as tar and parquet, and eight that are held out."""
    samples = synthesize(40, seed=0, split="train")
    write_tar(samples[:20], folder / "tar", shard_size=12)
    write_parquet(samples[20:], folder / "parquet", rows_per_file=20)
    write_tar(synthesize(8, seed=0, split="held_out"), folder / "held-out", shard_size=8)


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The lines of its metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def begins_of(run: Path) -> list[str | None]:
    """The checkpoint that each start of its workers began with; None at the beginning."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event["checkpoint"] for event in events if event["event"] == "begin"]


SPEEDS = ("tokens/s", "samples/s", "TFLOP/s")
MOMENTS = ("time", "step_ms", "beside_ms", "reads", "read_ms", "slowest_read_ms", "slowest_shard", "peak_GiB", *TIMES)
"""With what begins like these and goes on with a slash: metrics that differ from run to run."""


def untimed(run: Path) -> list[dict[str, Any]]:
    """What must be the same after every restart."""
    return [
        {key: value for key, value in line.items() if key not in SPEEDS and key.partition("/")[0] not in MOMENTS}
        for line in metrics_of(run)
    ]
