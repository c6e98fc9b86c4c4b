"""The state of this rank's DeepSpeed engine, copied to the CPU so that it can be written while training goes on."""

import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

from cli_ray.train.checkpoint.files import TAG

Snapshot = dict[str, Any]
"""What `torch.save` is to write, by path below the checkpoint's folder."""


def take_snapshot(engine: Any) -> Snapshot:
    """Copies what `DeepSpeedEngine.save_checkpoint` would write; called by every rank.

    Takes as much host memory as this rank's share of weights and optimiser states.

    Args:
        engine: the DeepSpeed engine.
    """
    own = engine.checkpoint_engine
    with tempfile.TemporaryDirectory() as scratch:  # DeepSpeed puts its scripts for recovery there, nothing else
        recorder = engine.checkpoint_engine = _Recorder(Path(scratch))
        try:
            engine.save_checkpoint(scratch, tag=TAG, save_latest=False, exclude_frozen_parameters=True)
        finally:
            engine.checkpoint_engine = own
    return recorder.snapshot


class _Recorder(TorchCheckpointEngine):
    """Keeps copies instead of writing files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.snapshot: Snapshot = {}

    def save(self, state_dict: Any, path: str) -> None:
        """See `CheckpointEngine` of DeepSpeed."""
        self.snapshot[Path(path).relative_to(self._folder).as_posix()] = _copied(state_dict, {})

    def preserves_storage_sharing(self) -> bool:
        """Nothing needs to be cloned before it comes here."""
        return False


def _copied(state: Any, seen: dict[tuple[Any, ...], torch.Tensor]) -> Any:
    """A copy with all tensors on the CPU; views of the same memory, such as tied weights, stay one tensor."""
    if isinstance(state, torch.Tensor):
        key = (state.device, state.data_ptr(), state.dtype, state.shape, state.stride())
        if not state.numel():
            return state.detach().cpu()
        if key not in seen:
            seen[key] = state.detach().to("cpu", copy=True)
        return seen[key]
    if isinstance(state, dict):
        copy = {name: _copied(value, seen) for name, value in state.items()}
        return OrderedDict(copy) if isinstance(state, OrderedDict) else copy
    if isinstance(state, list):
        return [_copied(value, seen) for value in state]
    if type(state) is tuple:
        return tuple(_copied(value, seen) for value in state)
    return state
