"""Reading windows by Ray Data.

Each rank runs its own Ray datasets inside its Ray Train worker, one per window, a few windows ahead.
`streaming_split` would deal blocks to ranks by timing, so that no two runs were alike; one dataset for a whole
epoch would put no bound on what is read ahead, and takes 0.8 ms per unit to set up. A rank's tasks run on its own
node, and on others where that one has no CPU free.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import lru_cache

import pyarrow as pa
import ray
import ray.data

from cli_ray.data.encoded import Row, from_table, to_table
from cli_ray.data.encoder import Encoder
from cli_ray.data.rows import Task, run
from cli_ray.data.source import Source


def read_by_ray(
    windows: Iterable[list[Task]], sources: tuple[Source, ...], encoder: Encoder, ahead: int
) -> Iterator[list[Row]]:
    """The rows of each window.

    Args:
        windows: tasks of each window; a task is one Ray task of one CPU.
        sources: of the index.
        encoder: sent to each node once and unpacked in each of its processes once.
        ahead: windows that are read while one is consumed.
    """
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # else it tells of every window
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # that there is no progress bar
    reference = ray.put(encoder)
    few = tuple(replace(source, shards=()) for source in sources)  # tasks name their shard, so spare them the list
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="window")
    pending: deque[Future[list[pa.Table]]] = deque()
    try:
        for tasks in windows:
            pending.append(pool.submit(_read_window, tasks, few, reference))
            if len(pending) > ahead:
                yield _rows(pending.popleft())
        while pending:
            yield _rows(pending.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _rows(window: "Future[list[pa.Table]]") -> list[Row]:
    return [row for table in window.result() for row in from_table(table)]


def _read_window(tasks: list[Task], sources: tuple[Source, ...], encoder: ray.ObjectRef) -> list[pa.Table]:
    """Runs the tasks of one window. The tables lie in shared memory until the last row of them is dropped."""
    if not tasks:
        return []

    def encode(batch: pa.Table) -> pa.Table:
        rows = [row for task in batch.to_pylist() for row in run(Task(**task), sources, _encoder(encoder))]
        return to_table(rows)

    dataset = ray.data.from_items([asdict(task) for task in tasks], override_num_blocks=len(tasks))
    # Ray Data would spread the tasks over all nodes, and pixels over the network.
    dataset = dataset.map_batches(
        encode,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        fallback_strategy=[{"label_selector": {}}],
    )
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    tables: list[pa.Table] = ray.get(dataset.materialize().to_arrow_refs())
    return tables


@lru_cache(maxsize=2)
def _encoder(reference: ray.ObjectRef) -> Encoder:
    encoder: Encoder = ray.get(reference)
    return encoder
