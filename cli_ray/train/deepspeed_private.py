"""Everything private of DeepSpeed that training uses.

Called by `engine` (start-up, clock) and `checkpoint/{write, universal}`. Written against DeepSpeed 0.19.8. To move to
another version, read this file first: each function says why the public interface does not do, and when it can go.
(`model/parameters.py` knows parameters that ZeRO 3 partitioned by the public `deepspeed.zero`.)
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.distributed import distributed_c10d as c10d

from cli_ray.packages import without
from cli_ray.train.collective_clock import CollectiveClock, StreamClock

COLLECTIVES = (
    "all_gather",
    "all_gather_coalesced",
    "all_gather_into_tensor",
    "all_reduce",
    "all_reduce_coalesced",
    "barrier",
    "broadcast",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
)
"""Methods of DeepSpeed's backend."""


def import_deepspeed(device: torch.device) -> Any:
    """DeepSpeed, set to a device before it chooses one itself.

    Why: on the CPU, `init_distributed` compiles a shared-memory collective, which takes minutes and needs a compiler;
    gloo serves as well. DeepSpeed has no setting against it (deepspeedai/DeepSpeed issue 7625, open in 2026).
    Goes: with such a setting.
    """
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    with without("mlflow"):  # DeepSpeed's autotuner, which no run uses, would spend a second of every rank on it
        import deepspeed
        import deepspeed.ops

    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def set_timeouts(timeout: timedelta) -> None:
    """Gives all process groups the same timeout.

    Why: `init_distributed(timeout=...)` sets that of the group of all ranks. Those that DeepSpeed makes beside it keep
    torch's own, ten minutes under NCCL, in which a slow read of data would end the run. torch has no public way to
    change the timeout of a group that is there.
    Goes: when DeepSpeed hands its timeout on (compare its issue 2927, open in 2026).
    """
    for group in list(c10d._world.pg_map):
        c10d._set_pg_timeout(timeout, group)


def clock_collectives(engine: Any, clock: CollectiveClock) -> None:
    """Has a clock run in each collective of DeepSpeed; that of the newest engine of this process.

    At ZeRO 3 on a GPU, parameters are gathered in a stream of their own, for which the one that computes waits inside
    `fetch_sub_module`: there the clock runs too.

    Why: DeepSpeed's own log of collectives (`comms_logger`) synchronises the device after each of them.
    Goes: when it can time them without.
    """
    from deepspeed.comm import comm

    backend: Any = comm.cdb
    for name in COLLECTIVES:
        method = getattr(type(backend), name).__get__(backend)
        setattr(backend, name, clock.timed(method))
    if isinstance(clock, StreamClock) and engine.zero_optimization_stage() == 3:
        coordinator = engine.optimizer.parameter_offload.get_param_coordinator()
        coordinator.fetch_sub_module = clock.timed(coordinator.fetch_sub_module)


@contextmanager
def saving_to(engine: Any, folder: Path, save: Callable[[str, Any], None]) -> Iterator[None]:
    """Within, `engine.save_checkpoint(folder)` hands what it would write to `save`, by path below `folder`.

    Why: DeepSpeed writes while training waits (its issue 5721 asks for asynchronous checkpoints, open in 2026). We copy
    the state and write the copy in the background, with checksums, to any filesystem.
    Goes: when a checkpoint engine of one's own can be given in DeepSpeed's config.
    """
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

    class Redirected(TorchCheckpointEngine):
        """Hands states on instead of writing them to files."""

        def save(self, state_dict: Any, path: str) -> None:
            save(Path(path).relative_to(folder).as_posix(), state_dict)

        def preserves_storage_sharing(self) -> bool:
            """False spares the clone that DeepSpeed makes for files, which would hold the whole storage of a view."""
            return False

    own, engine.checkpoint_engine = engine.checkpoint_engine, Redirected()
    try:
        yield
    finally:
        engine.checkpoint_engine = own


@contextmanager
def loading_universal(engine: Any) -> Iterator[None]:
    """Within, `engine.load_checkpoint` reads a universal checkpoint.

    Why: the config key `checkpoint.load_universal` would hold for the life of an engine, but DeepSpeed asks its config
    at each load. And at ZeRO 1 and 2 it takes the step of a group of parameters from the fragments that a rank holds,
    and fails on a rank that holds none (no upstream issue found).
    Goes: when `load_checkpoint` takes the form as an argument, and a rank without fragments of a group can load.
    """
    engine._config.load_universal_checkpoint = True
    try:
        with _fragment_in_every_group(engine.optimizer):
            yield
    finally:
        engine._config.load_universal_checkpoint = False


@contextmanager
def _fragment_in_every_group(zero: Any) -> Iterator[None]:
    """At ZeRO 1 and 2, an empty fragment for each group of which this rank holds nothing but padding.

    Args:
        zero: the ZeRO optimiser. Its 16-bit groups are the parameters of `zero.optimizer.param_groups`, in that order.
    """
    from deepspeed.utils.tensor_fragment import fragment_address, tensor_fragment

    groups = getattr(zero, "bit16_groups", None) or getattr(zero, "bf16_groups", [])
    mapped = []
    for number, (group, parameters) in enumerate(zip(zero.optimizer.param_groups, groups, strict=False)):
        if all(parameter._hp_mapping is None for parameter in parameters):
            empty, nowhere = group["params"][0][:0], fragment_address(numel=0, start=0)
            first = parameters[0]
            first._hp_mapping = tensor_fragment(first.flatten()[:0], nowhere, empty, nowhere, {}, {}, False, number)
            mapped.append(first)
    try:
        yield
    finally:
        for parameter in mapped:
            parameter._hp_mapping = None
