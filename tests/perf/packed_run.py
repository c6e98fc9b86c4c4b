"""A run on real samples in packs and in micro-batches: the same losses, and tokens/s of one beside the other.

    python -m tests.perf.packed_run [--steps 12] [--width 256] [--tokens 2048]

One process trains two equal models on the shared photographs and captions, from the stream and with the engine of a run
at ZeRO-2, and takes turns step by step; the ratio is the median of those of neighbouring steps, by CPU time of the
process, which neighbours on the machine change less than wall time.
"""

import argparse
import time
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from cli_ray.config import RunConfig
from cli_ray.costs.tiny import TinySize
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import build_index
from cli_ray.data.reading import read_here
from cli_ray.data.share import Share
from cli_ray.data.stream import Stream
from cli_ray.model import attach
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.train.engine import Engine
from tests.shared import SHARED
from tests.train.ranks import on_ranks
from tests.train.scenario import mean_loss

SOURCES = ("cc12m-0000.tar", "photos", "sharegpt/mllm_demo.json")
RATE = {"lr": 1e-3}


@dataclass(frozen=True)
class Step:
    """What a step took, and what came of it."""

    seconds: float
    """CPU time of the process."""
    tokens: int
    """Of samples."""
    positions: int
    """With padding."""
    passes: int
    loss: float


def config_of(tokens: int, packing: bool) -> RunConfig:
    """Of a run over all sources."""
    return RunConfig.model_validate(
        {
            "name": "packed",
            "model": {"checkpoint": "tiny"},
            "injection": {"vision_layers": {"count": 3}, "decoder_layers": {"count": 3}, "agf": {"num_heads": 2}},
            "data": {"sources": [{"path": str(SHARED / "data" / path)} for path in SOURCES], "max_length": tokens},
            "optim": dict.fromkeys(("vision_tower", "projector", "amp", "agf", "llm"), RATE),
            "train": {
                "global_batch_size": 16,
                "micro_batch_size": 4,
                "precision": "fp32",
                "packing": packing,
                "pack_tokens": tokens,
            },
            "cluster": {"gpus_per_worker": 0},
        }
    )


def take_turns(steps: int, width: int, tokens: int) -> list[list[float]]:
    """Of each step: of the packed run and then of the other, the fields of `Step`."""
    size = TinySize(image_size=112, patch_size=14, decoder_width=width)
    configs = [config_of(tokens, packing) for packing in (True, False)]
    processor, config = tiny_processor("llava", size), configs[0]
    index, encoder = build_index(config.data), Encoder(processor, config.data)
    stream = Stream(
        index,
        config.data,
        encoder,
        seed=0,
        lanes=1,
        rank=0,
        world_size=1,
        micro_batch_size=config.train.micro_batch_size,
        global_batch_size=config.train.global_batch_size,
        read=partial(read_here, sources=index.sources, encoder=encoder),
    )
    device = torch.device("cpu")
    engines = [Engine(attach(build_tiny("llava", 0, size), one.injection), processor, one, device) for one in configs]
    shares = zip(range(steps + 1), stream, strict=False)
    return [
        [float(value) for engine in engines for value in vars(_timed(engine, share, number)).values()]
        for number, share in shares
    ][1:]  # the first sets things up


def _timed(engine: Engine, share: Share, number: int) -> Step:
    start = time.process_time()
    result = engine.train_step(share, number, 1.0)
    seconds = time.process_time() - start
    positions = sum(forward.positions for forward in result.forwards)
    return Step(seconds, result.tokens, positions, len(result.forwards), mean_loss(engine, result.forwards))


def main() -> None:
    """Prints the ratio, the padding of both and how far losses are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=2048)
    arguments = parser.parse_args()
    [turns] = on_ranks(1, take_turns, arguments.steps, arguments.width, arguments.tokens)
    packed, plain = ([Step(*turn[i : i + 5]) for turn in turns] for i in (0, 5))
    for name, steps in (("packs", packed), ("micro-batches", plain)):
        tokens, seconds = sum(step.tokens for step in steps), sum(step.seconds for step in steps)
        padding = 1 - tokens / sum(step.positions for step in steps)
        passes = sum(step.passes for step in steps) / len(steps)
        speed = f"{tokens / seconds:8,.0f} tokens per CPU second"
        print(f"{name:14}{speed}, padding {padding:6.1%}, {passes:4.1f} passes a step")
    ratio = median(other.seconds / own.seconds for own, other in zip(packed, plain, strict=True))
    apart = max(abs(own.loss / other.loss - 1) for own, other in zip(packed, plain, strict=True))
    print(f"packs are {ratio:.2f}x as fast; losses {plain[0].loss:.4f} -> {plain[-1].loss:.4f}, apart by {apart:.0e}")


if __name__ == "__main__":
    main()
