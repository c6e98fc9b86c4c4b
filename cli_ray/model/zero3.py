"""Parameters that DeepSpeed's ZeRO-3 has partitioned, without importing DeepSpeed where it has not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


def is_partitioned(parameter: nn.Parameter) -> bool:
    """Whether this rank holds only its share of the parameter."""
    return hasattr(parameter, "ds_id")


@contextmanager
def whole(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Parameters in full, to be read and, on rank 0, written; a collective where they are partitioned."""
    if not any(is_partitioned(parameter) for parameter in parameters):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=0):
        yield


@contextmanager
def partitioning_off() -> Iterator[None]:
    """Models of transformers that are built within are whole, also while `HfDeepSpeedConfig` is in force."""
    from transformers.integrations import deepspeed as integration

    kept = integration.deepspeed_config() and integration._hf_deepspeed_config_weak_ref()
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if kept:
            integration.set_hf_deepspeed_config(kept)
