"""A replica that records gates against the same without: CPU time of a batch of 16 questions, as a ratio.

    python -m tests.perf.gates [--rounds 12]

For both families, width 512, three vision layers into three decoder layers, all 16 samples with heat maps, replies of
16 tokens. Batches with and without gates take turns.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import quantiles

from transformers.utils.logging import disable_progress_bar

from cli_ray.costs.tiny import TinySize
from cli_ray.evals.generation.job import Batch, Job
from cli_ray.evals.generation.predictor import Predictor
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.registry import FAMILIES
from tests.evals.generation.charts import TOKENS, entries_of, job_of, row, save_model, write_rows
from tests.model.batches import injection, open_gates

SIZE = TinySize(image_size=112, patch_size=14, vision_width=256, decoder_layers=8, decoder_width=512, heads=8)


def seconds(predictor: Predictor, job: Job, batch: Batch) -> float:
    """CPU time of a batch."""
    predictor._job = job
    start = time.process_time()
    list(predictor.predict(batch))
    return time.process_time() - start


def measure(family: str, folder: Path, rounds: int) -> list[float]:
    """With gates by without, of each round."""
    model = attach(build_tiny(family, size=SIZE), injection())
    open_gates(model)
    path = save_model(folder / "model", family, model)
    tiny_processor(family, SIZE).save_pretrained(path)
    location = write_rows(folder / "data", [row(seed) for seed in range(16)], group=16)
    job, batch = job_of(path, location), Batch(location.benchmark.name, location.parts[0], (), TOKENS, 1.0)
    batch = replace(batch, entries=tuple(entries_of(location)))
    predictor, gates = Predictor(job), replace(job, gates=True)
    seconds(predictor, gates, batch)
    plain = [(seconds(predictor, job, batch), seconds(predictor, gates, batch)) for _ in range(rounds)]
    return [with_gates / without for without, with_gates in plain]


def main() -> None:
    """Prints quartiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    disable_progress_bar()
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            low, middle, high = quantiles(measure(family, Path(folder), rounds), n=4)
            print(f"{family}: CPU time with gates by without {middle:.3f} (quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
