"""A checkpoint for another number of workers, through DeepSpeed's universal checkpoint.

ZeRO shards fit the number of ranks that wrote them. DeepSpeed's converter gathers them into a file per parameter and
state, of which every rank then takes its share. The converted files exist only while they are loaded.

Called by `restore.load` where the number of ranks is another one, and by the drills that resize runs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch.distributed as dist
from pyarrow import fs

from cli_ray.errors import UserError
from cli_ray.text import last_line
from cli_ray.train.deepspeed_private import loading_universal
from cli_ray.train.run_folder import RunFolder

PREFIX = "universal-"
"""Of the folders that hold converted files."""
CONVERTED = "converted"
CONVERTER = "deepspeed.checkpoint.ds_to_universal"
PROCESSES = 4
"""Most processes that gather shards; each holds the optimiser states of one rank in memory."""


def load_universal(folder: RunFolder, name: str, tag: str, engine: Any) -> None:
    """Restores weights and optimiser states that any number of ranks wrote; called by every rank.

    One rank converts for all that see its disk: rank 0 where the run folder is mounted, otherwise one
    on each node, which also fetches the checkpoint.

    Args:
        name: of the checkpoint within the run folder.
        tag: the folder of the shards within the checkpoint.
        engine: the DeepSpeed engine, of the ZeRO stage of the checkpoint (1, 2 or 3).

    Raises:
        UserError: the conversion failed, on whichever node; every rank raises it.
    """
    with _workspaces(folder) as (own, shared):
        start = time.perf_counter()
        error = _convert_to(shared, folder, f"{name}/{tag}") if own == shared else ""
        errors = [text for text in _gathered(error) if text]
        if errors:
            raise UserError(errors[0])
        if dist.get_rank() == 0:
            folder.event("convert", checkpoint=name, seconds=round(time.perf_counter() - start, 1))
        restore(shared, engine)
        dist.barrier()  # the files go as the first rank leaves


def sweep(folder: RunFolder) -> None:
    """Removes converted files that a killed process left in the run folder; called by every rank."""
    if dist.get_rank() == 0 and folder.is_local:
        for leftover in Path(folder.path).glob(f"{PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)
    dist.barrier()


def convert(saved: Path, target: Path) -> None:
    """Writes the universal form of a checkpoint.

    Args:
        saved: folder with the shards of all ranks at ZeRO stage 1, 2 or 3, without the frozen parameters.
        target: folder to write; a file of DeepSpeed's is put beside it.

    Raises:
        UserError: too little room, or shards that are damaged or missing; `target` is removed.
    """
    _check_room(saved, target.parent)
    # Paths are kept relative, for the converter takes those it is given as patterns.
    root = Path(os.path.commonpath([saved, target]))
    processes = str(min(PROCESSES, os.cpu_count() or 1, len(list(saved.glob("*_optim_states.pt")))))
    options = {
        "--input_folder": str(saved.relative_to(root)),
        "--output_folder": str(target.relative_to(root)),
        "--num_extract_workers": processes,
        "--num_merge_workers": processes,
    }
    # A process of its own: this one has threads and a GPU, which must not be forked.
    converter = subprocess.run(
        [sys.executable, "-P", "-m", CONVERTER, "--inject_missing_state", *chain(*options.items())],
        cwd=root,
        env=os.environ | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if converter.returncode:
        shutil.rmtree(target, ignore_errors=True)
        cause = last_line(converter.stderr.strip() or f"exit status {converter.returncode}")
        raise UserError(f"{saved} cannot be converted for another number of workers: {cause}")


def restore(workspace: Path, engine: Any) -> None:
    """Loads what `convert` wrote to `workspace / CONVERTED`; called by every rank."""
    optimizer = engine.optimizer.optimizer
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    with loading_universal(engine):
        engine.load_checkpoint(str(workspace), tag=CONVERTED, load_module_strict=False)
    # DeepSpeed 0.19.8 at ZeRO 3 gives all groups the rate, decay and name of the first.
    for group, own in zip(optimizer.param_groups, groups, strict=True):
        group.update(own)
    for parameter, state in optimizer.state.items():
        # And it lets all parameters count their steps in one tensor.
        step = state["step"].clone()
        state["step"] = step.to(parameter.device) if optimizer.defaults["fused"] else step


def room_needed(saved: Path) -> int:
    """Bytes that a conversion takes at its peak: fragments and merged states, one rank's states, and the weights.

    A tenth is added for the heads of the many small files.
    """
    states = [path.stat().st_size for path in saved.glob("*_optim_states.pt")]
    weights = [path.stat().st_size for path in saved.glob("*_model_states.pt")]
    return (2 * sum(states) + max(states, default=0) + sum(weights)) * 11 // 10


@contextmanager
def _workspaces(folder: RunFolder) -> Iterator[tuple[Path, Path]]:
    """A temporary folder of this rank, and the lowest rank's one among those that this rank sees."""
    beside = Path(folder.path).resolve() if folder.is_local else None
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=beside, ignore_cleanup_errors=True) as own:
        shared = next(path for path in _gathered(own) if Path(path).exists())
        yield Path(own), Path(shared)


def _convert_to(workspace: Path, folder: RunFolder, shards: str) -> str:
    """Converts `shards` of the run folder; the message of what went wrong, or nothing."""
    saved = Path(folder.join(shards)).resolve() if folder.is_local else workspace / "saved"
    try:
        if not folder.is_local:
            saved.mkdir()
            fs.copy_files(folder.join(shards), str(saved), source_filesystem=folder.fs)
        convert(saved, workspace / CONVERTED)
    except UserError as error:
        return str(error)
    return ""


def _check_room(saved: Path, parent: Path) -> None:
    needed, free = room_needed(saved), shutil.disk_usage(parent).free
    if needed > free:
        raise UserError(
            f"{saved} must be converted for another number of workers, which takes {needed} bytes in {parent}, "
            f"where {free} are free: make room, or go on with the number of workers that wrote it"
        )


def _gathered(text: str) -> list[str]:
    """`text` of each rank."""
    texts = [""] * dist.get_world_size()
    dist.all_gather_object(texts, text)
    return texts
