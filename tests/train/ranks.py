"""Runs a function on several gloo ranks without Ray.

The ranks are forked from a process that has loaded torch, transformers and DeepSpeed, which takes seconds, for all of
them. They see the environment variables of the first call.
"""

import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

multiprocessing.set_forkserver_preload(["tests.train.loaded"])


def on_ranks(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`function(*arguments)` on each of `world_size` processes that form a group; results (JSON) by rank.

    Raises:
        ProcessRaisedException: a rank failed; the others are ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world_size, folder, function, arguments)
        start_processes(_entry, arguments, nprocs=world_size, start_method="forkserver")
        return [json.loads(Path(folder, f"result{rank}").read_text()) for rank in range(world_size)]


def _entry(rank: int, world_size: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    Path(folder, f"result{rank}").write_text(json.dumps(function(*arguments)))
    dist.barrier()
    # DeepSpeed keeps groups alive whose gloo threads may still let go of a tensor, and one that does so while the
    # interpreter ends aborts the process: so it does not end by that way.
    os._exit(0)
