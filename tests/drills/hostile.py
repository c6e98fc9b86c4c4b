"""Hostile images and records through what a training run does with them: index, read, encode.

    python -m tests.drills.hostile [--inputs N] [--seed S]

Tar shards of generated inputs, every second sample sound, go through `build_index`, the reader and the encoder of the
tiny LLaVA. An alarm ends a shard that takes too long. The exit code is 1 when one raised anything, hung, or when a
sound neighbour was lost.
"""

import argparse
import json
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from cli_ray.data.conversation import Encoder
from cli_ray.data.encoded import Encoded
from cli_ray.model.tiny import tiny_processor
from tests.data.hostile.images import hostile_image
from tests.data.shards import data_config, picture, read_all, turns, write_tar

PER_SHARD = 50
LIMIT_S = 20
"""For one shard."""


def fill(path: Path, random: Random) -> list[str]:
    """Writes a shard; the kinds of its hostile samples, which have odd numbers."""
    members, kinds, text = [], [], json.dumps({"messages": turns()}).encode()
    for number in range(PER_SHARD):
        kind, image = hostile_image(random)
        record = text
        if random.random() < 0.3:
            cut = bytearray(text)
            cut[random.randrange(len(cut))] = random.randrange(256)
            kind, record, image = "JSON, changed", bytes(cut), picture()
        kinds.append(kind)
        members += [(f"{2 * number:05}.png", picture()), (f"{2 * number:05}.json", text)]
        members += [(f"{2 * number + 1:05}.png", image), (f"{2 * number + 1:05}.json", record)]
    write_tar(path, members)
    return kinds


class HungError(BaseException):
    """A shard takes too long; no reader may take it for a fault of the data."""


def hung(*_: object) -> None:
    """Ends a shard that takes too long."""
    raise HungError


def main() -> int:
    """Runs the shards and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random, counts, failed = Random(arguments.seed), Counter[tuple[str, str]](), 0
    limits = {"max_length": 512, "max_image_MiB": 1, "max_image_pixels": 4_000_000}
    encoder, began, first = Encoder(tiny_processor("llava"), data_config("unused", **limits)), time.monotonic(), 0
    signal.signal(signal.SIGALRM, hung)
    for _ in range(-(-arguments.inputs // PER_SHARD)):
        with tempfile.TemporaryDirectory(prefix="hostile") as folder:
            kinds = fill(Path(folder) / "x.tar", random)
            signal.alarm(LIMIT_S)
            try:
                rows = [encoder(sample) for sample in read_all(data_config(folder, **limits))]
            except (Exception, HungError) as error:
                failed += 1
                print(f"{type(error).__name__}: {error}"[:300])
                continue
            finally:
                signal.alarm(0)
            failed += not all(isinstance(row, Encoded) for row in rows[::2]) or len(rows) != 2 * PER_SHARD
            failed += [path.name for path in Path(folder).iterdir()] != ["x.tar"]
            reasons = ("good" if isinstance(row, Encoded) else row.reason for row in rows[1::2])
            counts.update(zip(kinds, reasons, strict=True))
        first = first or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for (kind, reason), count in sorted(counts.items()):
        print(f"{kind:20} {reason:20} {count:6}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{counts.total()} inputs in {time.monotonic() - began:.0f} s; {failed} shards failed")
    print(f"peak memory {peak >> 10} MiB, {first >> 10} MiB after the first shard")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
