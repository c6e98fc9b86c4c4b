"""Which checkpoint a start goes on from, and going on from it.

Called by `worker.build_loop` on every rank: `choose` before the model is built, `load` once the engine is there. A
checkpoint of another number of ranks takes the way of `universal`.
"""

from typing import Any

import torch
import torch.distributed as dist

from cli_ray.errors import UserError
from cli_ray.text import say
from cli_ray.train.checkpoint.files import TAG, Checkpoint, marked, read_from
from cli_ray.train.checkpoint.universal import load_universal, sweep
from cli_ray.train.checkpoint.write import damage
from cli_ray.train.run_folder import RunFolder


def choose(folder: RunFolder, device: torch.device) -> Checkpoint | None:
    """The newest checkpoint that is whole, the same on every rank; None when none was ever completed.

    Each rank reads its share of the files and compares checksums. What is half-written or damaged is reported and
    removed, for those steps are done again.

    Raises:
        UserError: there are complete checkpoints, and all of them are damaged.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    listing: list[dict[str, Checkpoint | str]] = [marked(folder) if rank == 0 else {}]
    dist.broadcast_object_list(listing, src=0, device=device)  # all ranks see what rank 0 saw
    (by_name,) = listing
    damaged = {name: reason for name, reason in by_name.items() if isinstance(reason, str)}
    for checkpoint in [entry for entry in reversed(by_name.values()) if isinstance(entry, Checkpoint)]:
        reasons: list[str | None] = [None] * world_size
        dist.all_gather_object(reasons, damage(folder, checkpoint, sorted(checkpoint.files)[rank::world_size]))
        reason = next((reason for reason in reasons if reason), None)
        if reason is None:
            if rank == 0:
                _tidy(folder, checkpoint, damaged)
            return checkpoint
        damaged[checkpoint.name] = reason
    if damaged:
        lines = "".join(f"\n  {name}: {reason}" for name, reason in damaged.items())
        raise UserError(
            f"every checkpoint of {folder.uri} is damaged:{lines}\nput one back from a copy, "
            "or remove its checkpoints folder to begin at step 0"
        )
    if rank == 0:
        _tidy(folder, None, damaged)
    return None


def load(folder: RunFolder, checkpoint: Checkpoint, engine: Any) -> None:
    """Restores weights and optimiser states that any number of ranks wrote; called by every rank.

    Raises:
        UserError: the checkpoint of another number of ranks cannot be converted.
    """
    sweep(folder)
    if checkpoint.zero_stage and checkpoint.world_size != dist.get_world_size():
        load_universal(folder, checkpoint.name, TAG, engine)
        return
    with read_from(folder, checkpoint.name) as local:
        engine.load_checkpoint(str(local), tag=TAG, load_module_strict=False)


def _tidy(folder: RunFolder, chosen: Checkpoint | None, damaged: dict[str, str]) -> None:
    """Reports checkpoints that cannot be used, and removes them; rank 0 only."""
    usable = marked(folder).keys() - damaged.keys()
    for name in (f"checkpoints/{name}" for name in folder.names("checkpoints")):
        if name in usable:
            continue
        reason = damaged.get(name, "half-written")
        say(f"{name} is left out: {reason}; using {chosen.name if chosen else 'none'}")
        folder.event("checkpoint left out", path=name, reason=reason)
        folder.delete(name)
