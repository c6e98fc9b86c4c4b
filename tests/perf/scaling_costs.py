"""Measures what tests.perf.scaling reckons with. Times are CPU seconds of this process, so that others do not count."""

import io
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from PIL import Image

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.costs.tiny import TinySize
from cli_ray.data import ledger
from cli_ray.data.collate import collate
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import Index, build_index
from cli_ray.data.order import Piece
from cli_ray.data.reading import Task, from_table, run, to_table
from cli_ray.data.sample import Encoded
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.model.tiny import tiny_processor
from cli_ray.train.health.heartbeat import Pulse, Sign
from tests.perf.ledger import made_index
from tests.perf.scaling_steps import Costs, SampleCosts

MICRO_BATCH = 16
SQUARE = TinySize(image_size=336, patch_size=14)
"""What the processor of LLaVA-1.5 makes of an image: 336 pixels, 576 tokens."""
IDLE_S = 3.0
"""For which a process is left alone, to see what it spends then."""
clock = time.process_time


def synthesized_shard(folder: Path, count: int, side: int) -> Path:
    """A shard of drawn pictures, enlarged to `side` pixels, as PNG."""
    write_tar([replace(one, image=_enlarged(one.image, side)) for one in synthesize(count, 0, "train")], folder, count)
    return folder


def measure_samples(path: Path, unit: int = 32) -> tuple[int, SampleCosts]:
    """How many samples a source has, each read and encoded in this process, and what one took."""
    index, tasks, encoder = _source(path, unit)
    list(run(tasks[0], index.sources, encoder))  # once, so that nothing is imported or cached below
    rows: list[Encoded] = []
    times = []
    for task in tasks:
        found = run(task, index.sources, encoder)
        for _ in range(task.count):
            start = clock()
            row = next(found)
            times.append(clock() - start)
            assert isinstance(row, Encoded), row
            rows.append(row)
    start = clock()
    table = to_table(rows)
    times_of_all = np.array(times) + (clock() - start) / len(rows)
    collated = [_collated(rows[i : i + MICRO_BATCH], encoder) for i in range(0, len(rows), MICRO_BATCH)]
    return len(rows), SampleCosts(
        encode_s=float(times_of_all.mean()),
        encode_sigma=float(np.log(times_of_all).std()),
        collate_s=float(np.mean(collated)),
        collate_sigma=float(np.log(collated).std()),
        source_bytes=sum(shard.size for source in index.sources for shard in source.shards) / len(rows),
        row_bytes=table.nbytes / len(rows),
    )


def measure(samples: SampleCosts, indexed: int, ranks: int) -> Costs:
    """All costs but those of Ray.

    Args:
        samples: of the source that the run reads.
        indexed: samples of the index that is parsed.
        ranks: that beat.
    """
    text = made_index(indexed).to_json()
    record_s, record_bytes = _record(ranks)
    pulse = Pulse()
    return Costs(
        **vars(samples),
        index_bytes=len(text) / indexed,
        index_s=_seconds(lambda: Index.from_json(text), 1) / indexed,
        beat_s=_seconds(lambda: pulse.beat(sign(0)), 2000),
        look_s=_look(ranks),
        record_s=record_s,
        record_bytes=record_bytes,
    )


def measure_ray(path: Path, costs: Costs, windows: int = 20) -> Costs:
    """The costs with the CPU seconds of the pulse as an actor, of Ray Data's actor of statistics and of Ray's head.

    One window has 8 tasks, as one of 256 samples has. What they spend when nothing is asked of them is taken off.
    """
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # else it leaves a token in the home
    import ray
    from ray.data._internal.stats import get_or_create_stats_actor

    from cli_ray.data.reading import read_by_ray

    with tempfile.TemporaryDirectory(prefix="sc", dir="/tmp") as scratch:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=scratch)
        try:
            index, tasks, encoder = _source(path, 4)
            pulse = ray.remote(Pulse).options(num_cpus=0).remote()
            beats, looks = range(2000), range(20)
            spent = partial(_spent_by, pulse)
            beat_s = _busy(spent, lambda: ray.get([pulse.beat.remote(sign(rank)) for rank in beats])) / len(beats)
            look_s = _busy(spent, lambda: [ray.get(pulse.look.remote()) for _ in looks]) / len(looks) / len(beats)
            window = tasks[:8]
            list(read_by_ray([window], index.sources, encoder, 1))
            actor, head = get_or_create_stats_actor(), _head()

            def read() -> None:
                for _ in read_by_ray([window] * windows, index.sources, encoder, 2):
                    pass

            statistics_s = _busy(partial(_spent_by, actor), read) / windows
            head_s = _busy(partial(_cpu_of, head), read) / windows
        finally:
            ray.shutdown()
    return replace(costs, beat_s=beat_s, look_s=look_s, statistics_s=statistics_s, head_s=head_s)


def sign(rank: int) -> Sign:
    """As a rank sends it while it waits for data."""
    detail = "epoch 0, window 12 of 81, from /shared/data/llava_v1_5_mix665k.json"
    return Sign(rank, "0123456789abcdef" * 2, "0123456789abcdef" * 3, 12345, "data", detail, 1234, 0.5)


def _enlarged(png: bytes, side: int) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).resize((side, side)).save(file, "PNG")
    return file.getvalue()


def _source(path: Path, unit: int) -> tuple[Index, list[Task], Encoder]:
    data = DataConfig(sources=(SourceConfig(path=str(path)),), unit_samples=unit, window_samples=8 * unit)
    index = build_index(data)
    tasks = [Task.of(index, Piece(number, 0, index.unit(number).span.count)) for number in range(len(index))]
    return index, tasks, Encoder(tiny_processor("llava", SQUARE), data)


def _collated(rows: list[Encoded], encoder: Encoder) -> float:
    """Seconds per sample of one micro-batch."""
    table = to_table(rows)
    start = clock()
    collate([row for row in from_table(table) if isinstance(row, Encoded)], encoder.pad_token_id, encoder.tiled)
    return (clock() - start) / len(rows)


def _look(ranks: int) -> float:
    """Seconds per rank of a look at all of them."""
    pulse = Pulse()
    for rank in range(ranks):
        pulse.beat(sign(rank))
    return _seconds(pulse.look, 5) / ranks


def _record(ranks: int) -> tuple[float, float]:
    """Seconds and bytes of a sample on rank 0, which merges what every rank gathered in 20 steps of a micro-batch."""
    ids = [f"images/{number:012d}.jpg#{number}:{number:012d}" for number in range(MICRO_BATCH)]
    share = cast(Any, SimpleNamespace(ids=ids, sources=["mix665k"] * MICRO_BATCH, bad=[]))
    tables = [ledger.merge([ledger.entries(step, 100, rank, share) for step in range(1, 21)]) for rank in range(ranks)]
    count = 20 * MICRO_BATCH
    return _seconds(lambda: ledger.merge(tables), 1) / (count * ranks), len(pickle.dumps(tables[0])) / count


def _seconds(work: Callable[[], object], times: int) -> float:
    start = clock()
    for _ in range(times):
        work()
    return (clock() - start) / times


def _busy(spent: Callable[[], float], work: Callable[[], object]) -> float:
    """CPU seconds that a process spends on `work`, less what it spends when it is left alone for as long."""
    before = spent()
    time.sleep(IDLE_S)
    idle = (spent() - before) / IDLE_S
    before, start = spent(), time.perf_counter()
    work()
    return max(0.0, spent() - before - idle * (time.perf_counter() - start))


def _spent_by(actor: Any) -> float:
    """CPU seconds of an actor's process so far."""
    import ray

    seconds: float = ray.get(actor.__ray_call__.remote(lambda self: time.process_time()))
    return seconds


def _head() -> int:
    """Process id of the GCS."""
    import ray._private.worker

    pid: int = ray._private.worker.global_worker.node.all_processes["gcs_server"][0].process.pid
    return pid


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
