"""Faults that another try would only repeat: reported with the samples of their step, and not tried for ever.

A rank writes its fault to `faults/` of the run folder (`record`, called by `worker`); each later start of the same
launch, and the driver at its end, reads there whether to give up (`verdict`). What the driver calls needs no torch.
"""

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayError

from cli_ray.errors import RunFailedError, UserError
from cli_ray.train.run_folder import RunFolder

if TYPE_CHECKING:
    from cli_ray.train.engine import StepResult

SHOWN_IDS = 20
REPEATS = 2
"""Times that the same fault at the same step says that it will always come."""
_OF_PEERS = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
"""In messages of a collective whose other side is gone; plain RuntimeErrors all of them."""


class Fault(BaseModel):
    """An error of one rank in one step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int | None
    """Steps done before the one that failed; None before the first one of a start."""
    rank: int
    kind: str
    message: str
    ids: list[str]
    """Samples of the rank's share of the step."""
    final: bool
    """Whether a single time is enough."""

    def describe(self, times: int) -> str:
        """The message for people."""
        again = f", {times} times in the same way" if times > 1 else ""
        if self.step is None:
            return f"the start failed on rank {self.rank}{again}: {self.kind}: {self.message}"
        return (
            f"step {self.step + 1} failed on rank {self.rank}{again}: {self.kind}: {self.message}\n"
            f"its samples: {_listed(self.ids)}"
        )


def record(folder: RunFolder, launch: str, step: int | None, rank: int, ids: list[str], error: BaseException) -> None:
    """Writes down what failed in a step, or at the start, unless another try may well go better.

    So it does where storage or a node failed, or where a collective only says that another rank is gone.
    """
    import torch.distributed as dist

    is_transient = isinstance(error, OSError | dist.DistError | RayError) and not isinstance(error, UserError)
    if is_transient or not isinstance(error, Exception) or any(mark in str(error) for mark in _OF_PEERS):
        return
    fault = Fault(
        step=step,
        rank=rank,
        kind=type(error).__name__,
        message=_advice(str(error), error),
        ids=ids,
        final=isinstance(error, UserError),
    )
    folder.write(f"faults/{launch}/{uuid4().hex}.json", fault.model_dump_json(indent=2))


def verdict(folder: RunFolder, launch: str, repeats: int = REPEATS) -> str | None:
    """Why this launch must not go on; None when nothing says so.

    Args:
        folder: of the run.
        launch: one call of the command, over all the restarts that Ray makes of it.
        repeats: times that the same fault must have come.
    """
    texts = [folder.read(f"faults/{launch}/{name}") for name in folder.names(f"faults/{launch}")]
    faults = [Fault.model_validate(json.loads(text)) for text in texts if text is not None]
    times = Counter((fault.step, fault.kind) for fault in faults)
    for fault in faults:
        count = times[fault.step, fault.kind]
        if fault.final or count >= repeats:
            return fault.describe(count)
    return None


def refuse_non_finite(result: "StepResult", step: int) -> None:
    """Stops a run whose gradient is NaN or infinite; called by every rank.

    Raises:
        RunFailedError: on every rank alike, naming the samples whose loss is not finite.
    """
    import torch.distributed as dist

    # DeepSpeed gives -1 for a norm that is none.
    if math.isfinite(result.grad_norm) and result.grad_norm >= 0:
        return
    own = [
        forward.ids[row]
        for forward in result.forwards
        for row in sorted(set(forward.sample_S[~forward.nll_S.isfinite()].tolist()))
    ]
    ranks: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(ranks, own)
    raise RunFailedError(
        f"the gradient of step {step} is not finite (train.stop_on_nan). Samples whose loss is not: "
        f"{_listed([name for names in ranks for name in names])}. Lower the rates in optim or optim.max_grad_norm, or "
        "look at these samples; the same command goes on from the last checkpoint"
    )


def _listed(ids: list[str]) -> str:
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return (", ".join(ids[:SHOWN_IDS]) + more) or "none"


def _advice(message: str, error: Any) -> str:
    import torch

    if isinstance(error, torch.OutOfMemoryError) and "data.max_length" not in message:
        fields = "train.pack_tokens (without packing train.micro_batch_size) or data.max_length"
        return f"{message}\nLower {fields}, or set train.activation_checkpointing"
    return message
