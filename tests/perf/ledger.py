"""What the record of sample ids and the position in the stream cost, on made indexes; nothing is trained.

    python -m tests.perf.ledger record [--samples 10000000]   the ledger of one epoch: write, size, verify
    python -m tests.perf.ledger state [--samples 10000000]    the index and the state of the stream

Samples stand in shards of 10,000 with keys as img2dataset writes them; an epoch has batches of 1,024 over 8 ranks.
Memory is the highest RSS of the process, so run each by itself.
"""

import argparse
import json
import multiprocessing
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data import ledger
from cli_ray.data.cost import SampleCost
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index
from cli_ray.data.order import Order
from cli_ray.data.places import Places
from cli_ray.data.source import Source
from cli_ray.data.steps import Levelled
from cli_ray.data.stream import Stream
from cli_ray.data.verify import Verifier
from cli_ray.model.tiny import tiny_processor
from cli_ray.storage.files import Shard
from cli_ray.storage.folder import Folder

SHARD, UNIT, RANKS, BATCH, EVERY = 10_000, 32, 8, 1024, 500


def made_index(samples: int) -> Index:
    """One source of full shards."""
    shards = samples // SHARD
    firsts = np.arange(0, SHARD, UNIT)
    counts = np.minimum(UNIT, SHARD - firsts)
    columns = {
        "source": np.zeros(shards * len(firsts), np.int64),
        "shard": np.repeat(np.arange(shards), len(firsts)),
        "start": np.tile(firsts * 50_000, shards),
        "end": np.tile((firsts + counts) * 50_000, shards),
        "count": np.tile(counts, shards),
        "first": np.tile(firsts, shards),
    }
    files = tuple(Shard(f"s3://bucket/laion/{i:05d}.tar", SHARD * 50_000, 0) for i in range(shards))
    return Index((Source("laion", "webdataset", "s3://bucket/laion", "", "", files),), UNIT, columns, {})


def order_for(index: Index) -> Order:
    """One lane per rank."""
    return Order(index.columns["count"], index.columns["source"], [1.0], 0, RANKS, 256, 8, BATCH // RANKS // 8)


def peak() -> float:
    """Highest RSS so far, MiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def names(index: Index, order: Order, lane: int) -> list[str]:
    """Ids of a lane in the order of its pieces."""
    shard, first = index.columns["shard"], index.columns["first"]
    return [
        f"{shard[unit]:05d}.tar#{first[unit] + i}:{shard[unit]:05d}{first[unit] + i:04d}"
        for unit, low, high in zip(*order.lead(0, lane, order.windows()), strict=True)
        for i in range(low, high)
    ]


def write_epoch(folder: Folder, index: Index, order: Order) -> float:
    """Writes the ledger of one epoch; returns ms per step of one rank whose share is the whole batch."""
    lanes, size = [names(index, order, lane) for lane in range(RANKS)], BATCH // RANKS
    last = order.steps_per_epoch
    for begin in range(0, last, EVERY):
        end = min(begin + EVERY, last)
        rows = []
        for step in range(begin + 1, end + 1):
            for rank, lane in enumerate(lanes):
                rows.append(ledger.entries(step, last, rank, share_of(lane[(step - 1) * size : step * size])))
        began = time.perf_counter()
        ledger.write(folder, end, ledger.merge(rows))
        wrote = time.perf_counter() - began
    print(f"merging and writing the last file: {wrote:.2f} s for {end - begin} steps")
    whole = share_of(lanes[0][:BATCH])
    began = time.perf_counter()
    for step in range(1, 501):
        ledger.entries(step, last, 0, whole)
    return (time.perf_counter() - began) * 2


def share_of(ids: list[str]) -> Any:
    """As much of a share as a ledger looks at."""
    return cast(Any, SimpleNamespace(ids=ids, sources=["laion"] * len(ids), bad=[]))


def tell_record(samples: int) -> None:
    """Writes and verifies an epoch. The writer is another process, so that its memory does not count."""
    index = made_index(samples)
    order = order_for(index)
    # With windows of one micro-batch, steps take the pieces in order.
    order = Order(order.counts, order.sources, [1.0], 0, RANKS, BATCH // RANKS, BATCH // RANKS, 1)
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(f"buffering {BATCH} samples: {pool.apply(write_epoch, (folder, index, order)):.2f} ms a step")
        files = ledger.steps(folder)
        size = sum(file.stat().st_size for file in Path(path, ledger.LEDGER).iterdir())
        print(f"{len(files)} files, {size / 2**20:,.1f} MiB, {size / samples:.2f} bytes per sample")
        began = time.perf_counter()
        read = partial(ledger.read, folder)
        steps = Levelled(order, SampleCost())
        found = Verifier(Places(index), steps, read, files, order.steps_per_epoch, 20).run()
        print(f"verified in {time.perf_counter() - began:.1f} s, peak {peak():,.0f} MiB: right is {found.is_right}")


def tell_state(samples: int) -> None:
    """The index, and what of the stream is saved."""
    before = peak()
    index = made_index(samples)
    began = time.perf_counter()
    text = index.to_json()
    print(f"{len(index):,} units; index.json {len(text) / 2**20:,.1f} MiB in {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    index = Index.from_json(text)
    print(f"read in {time.perf_counter() - began:.1f} s, peak {peak() - before:,.0f} MiB above {before:,.0f} MiB")
    print(f"columns: {sum(column.nbytes for column in index.columns.values()) / 2**20:,.1f} MiB in memory")
    data = DataConfig(sources=(SourceConfig(path="laion"),))
    encoder = Encoder(tiny_processor("llava"), data)
    stream = Stream(
        index,
        data,
        encoder,
        seed=0,
        lanes=RANKS,
        rank=0,
        world_size=1,
        micro_batch_size=8,
        global_batch_size=BATCH,
    )
    began = time.perf_counter()
    stream.order.pieces(5, 3, 2)
    print(f"order of an epoch: {time.perf_counter() - began:.2f} s, {4 * len(index) * 8 / 2**20:,.1f} MiB in memory")
    stream.load_state_dict(stream.state_dict() | {"epoch": 5, "epoch_step": stream.steps_per_epoch // 2})
    print(f"state of the stream: {len(json.dumps(stream.state_dict()))} bytes")


def main() -> None:
    """Prints one of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "state"))
    parser.add_argument("--samples", type=int, default=10_000_000)
    arguments = parser.parse_args()
    {"record": tell_record, "state": tell_state}[arguments.what](arguments.samples)


if __name__ == "__main__":
    main()
