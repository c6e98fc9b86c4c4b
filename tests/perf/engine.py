"""What the engine costs beside plain `generate`, and what batches and kept features of images gain.

    python -m tests.perf.engine [--model FOLDER] [--requests 16] [--tokens 64] [--repeats 5] [--gpus 0]

All requests ask about one image of noise; without a model, a small one with random weights says as much as it may.
Ways are interleaved and medians count. `generate` is the batch without streamed text, stop texts or seeds of rows.
Wall is that of a machine that may be shared.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from cli_ray.data.sample import IMAGE_MARK, Message
from cli_ray.inference.engine import Engine, Request
from cli_ray.inference.inputs import encode, inputs_of
from cli_ray.inference.loaded import replica_here
from cli_ray.inference.sampling import Sampling
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny, tiny_processor
from tests.evals.generation.charts import png
from tests.model.batches import injection
from tests.perf.generation import SHAPES


def main() -> None:
    """Prints the seconds of each way and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gpus", type=float)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(given.model or small(Path(folder)), replica_here(given.gpus))
    requests = [
        Request(
            (Message("user", f"{IMAGE_MARK}\nWhat is {number}?"),), (png(0),), Sampling(max_new_tokens=given.tokens)
        )
        for number in range(given.requests)
    ]
    prompts = [engine._prompter(request) for request in requests]

    def generate() -> None:
        with torch.inference_mode():
            inputs = encode(engine._model, inputs_of(engine._processor, prompts))
            engine._model.generate(**inputs, max_new_tokens=given.tokens)

    def afresh() -> None:
        engine._features.clear()
        engine.generate(requests)

    ways: dict[str, Callable[[], object]] = {
        "generate": generate,
        "engine": afresh,
        "engine, image known": lambda: engine.generate(requests),
        "engine, one at a time": lambda: [engine.generate([request]) for request in requests],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(given.repeats + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - begun)
    base = median(seconds["generate"])
    for name, taken in seconds.items():
        print(f"{name:<22} {median(taken):7.3f} s  {median(taken) / base:5.2f} x generate")


def small(folder: Path) -> str:
    """A model with injection and random weights that never ends a reply."""
    model = attach(build_tiny("llava", size=SHAPES["small"]), injection())
    model.lm_head.weight.data[[model.config.image_token_id, model.generation_config.eos_token_id]] = 0
    model.save_pretrained(folder)
    tiny_processor("llava", SHAPES["small"]).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    main()
