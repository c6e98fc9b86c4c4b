"""Run folders with a ledger, written by the stream itself and without Ray."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from cli_ray.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from cli_ray.data import ledger
from cli_ray.data.cost import SampleCost
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import build_index
from cli_ray.data.reading import read_here
from cli_ray.data.stream import Stream
from cli_ray.model.tiny import tiny_processor
from cli_ray.storage.folder import Folder
from cli_ray.train.checkpoint.files import MARKER, Checkpoint, Progress

EVERY = 5
"""Steps between files of the ledger."""
COST = SampleCost(tile=300, token=10, pair=1, supervised=5)


def record(
    runs: Path,
    data: DataConfig,
    steps: int,
    worlds: Sequence[int] = (2,),
    lanes: int = 6,
    cost: SampleCost | None = COST,
) -> Path:
    """A run of some steps, of global batch 24 in micro-batches of 2.

    Args:
        worlds: ranks from each file of the ledger on; the last one stays.
        cost: of the stream; None for a run in the order of earlier versions.
    """
    train = TrainConfig(global_batch_size=24, micro_batch_size=2, epochs=9)
    data = data.model_copy(update={"lanes": lanes})
    config = RunConfig(name="run", model=ModelConfig(checkpoint="tiny"), data=data, train=train, seed=3)
    index, encoder = build_index(data), Encoder(tiny_processor("llava"), data)
    folder = Folder(str(runs / "run"))
    folder.write("config.json", config.model_dump_json(exclude={"runs_dir"}))
    folder.write("index.json", index.to_json())

    def stream(rank: int, world_size: int) -> Stream:
        return Stream(
            index,
            data,
            encoder,
            seed=config.seed,
            lanes=lanes,
            rank=rank,
            world_size=world_size,
            micro_batch_size=2,
            global_batch_size=24,
            cost=cost,
            read=partial(read_here, sources=index.sources, encoder=encoder),
        )

    for part, start in enumerate(range(0, steps, EVERY)):
        world_size, end = worlds[min(part, len(worlds) - 1)], min(start + EVERY, steps)
        rows = [one for rank in range(world_size) for one in _entries(stream(rank, world_size), rank, start, end)]
        ledger.write(folder, end, ledger.merge(rows))
    state = stream(0, 1).state_dict()
    checkpoint = Checkpoint(progress=Progress(step=steps), stream=state, world_size=worlds[-1], zero_stage=2)
    folder.write(f"{checkpoint.name}/{MARKER}", checkpoint.model_dump_json())
    return runs / "run"


def _entries(stream: Stream, rank: int, start: int, end: int) -> list[pa.Table]:
    """What a rank records of the steps `start < step <= end`."""
    found, step = [], start
    while step < end:
        epoch, first = divmod(step, stream.steps_per_epoch)
        for share in islice(stream.iterate(epoch, first), end - step):
            step += 1
            found.append(ledger.entries(step, stream.steps_per_epoch, rank, share))
    return found


def alter(run: Path, step: int, change: Callable[[pa.Table], pa.Table]) -> None:
    """Writes a file of the ledger anew, changed."""
    folder = Folder(str(run))
    ledger.write(folder, step, change(ledger.read(folder, step)))


def drop(rows: pa.Table, row: int) -> pa.Table:
    """Without a row."""
    return rows.take(np.delete(np.arange(len(rows)), row))


def double(rows: pa.Table, row: int) -> pa.Table:
    """With a row twice."""
    return pa.concat_tables([rows, rows.slice(row, 1)])


def put(rows: pa.Table, row: int, column: str, value: str | int) -> pa.Table:
    """With another value in one column of a row."""
    values = rows.to_pylist()
    values[row][column] = value
    return pa.Table.from_pylist(values, schema=ledger.SCHEMA)
