"""Samples per second of batched against batch-1 generation, through the predictor of a replica, both families.

    python -m tests.perf.generation
    python -m tests.perf.generation --device cuda --shape 7b --dtype bf16 --batch 16

Random weights and noise images; replies are as long as they may be. Runs are interleaved and the median counts.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from cli_ray.config.evaluation import ReplicaConfig
from cli_ray.evals.generation.job import Batch
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.evals.items.location import Location
from cli_ray.model.tiny import TINY, TinySize, build_tiny, tiny_processor
from cli_ray.registry import FAMILIES
from tests.evals.generation.charts import NAME, entries_of, job_of, row, write_rows

SHAPES = {
    "tiny": TINY,
    "small": TinySize(image_size=112, patch_size=14, vision_width=256, decoder_layers=8, decoder_width=512, heads=8),
    "7b": TinySize(336, 14, 24, 1024, 32, 4096, 32),
}


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    shape: str
    device: str
    dtype: str
    batch: int
    tokens: int
    repeats: int


def predictor_of(family: str, setting: Setting, location: Location, folder: Path) -> Predictor:
    """One whose model has random weights and never ends a reply early."""
    size = SHAPES[setting.shape]
    model = build_tiny(family, size=size)
    model.to(torch.bfloat16 if setting.dtype == "bf16" else torch.float32).save_pretrained(folder)
    tiny_processor(family, size).save_pretrained(folder)
    replica = ReplicaConfig.model_validate(
        {"gpus": float(setting.device == "cuda"), "dtype": setting.dtype, "batch_size": setting.batch}
    )
    predictor = Predictor(job_of(str(folder), location, replica))
    predictor._model.generation_config.min_new_tokens = setting.tokens
    predictor._model.generation_config.suppress_tokens = [model.config.image_token_id]
    return predictor


def seconds(predictor: Predictor, location: Location, size: int, setting: Setting) -> float:
    """For `setting.batch` samples in batches of `size`, reading and decoding included."""
    entries = entries_of(location)[: setting.batch]
    batches = [
        Batch(NAME, location.parts[0], tuple(entries[start : start + size]), setting.tokens, 1.0)
        for start in range(0, len(entries), size)
    ]
    start = time.perf_counter()
    records = [record for batch in batches for some in predictor.predict(batch) for record in some]
    assert not any(record.error for record in records)
    return time.perf_counter() - start


def measure(family: str, setting: Setting) -> None:
    """Prints a line."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        location = write_rows(root / "data", [row(seed) for seed in range(setting.batch)], group=setting.batch)
        predictor = predictor_of(family, setting, location, root / "model")
        sizes = (1, setting.batch)
        for size in sizes:
            seconds(predictor, location, size, setting)
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(setting.repeats):
            for size in sizes:
                times[size].append(seconds(predictor, location, size, setting))
    one, many = (setting.batch / median(times[size]) for size in sizes)
    print(f"{family} {setting.shape} {setting.device} {setting.dtype}, {setting.tokens} tokens: batch 1 {one:.2f} "
          f"samples/s, batch {setting.batch} {many:.2f} samples/s, ratio {many / one:.2f}")  # fmt: skip


def main() -> None:
    """Measures both families."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    setting = Setting(**vars(parser.parse_args()))
    for family in FAMILIES:
        measure(family, setting)


if __name__ == "__main__":
    main()
