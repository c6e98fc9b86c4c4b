"""The part of the model that a parameter belongs to, whether it decays, and how to reach all of a partitioned one.

The optimiser's groups and all code that writes weights go through here. DeepSpeed, whose ZeRO-3 partitions parameters,
is imported only where it is in use.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from cli_ray.config import Part

_PREFIXES: tuple[tuple[str, Part], ...] = (
    ("vision_tower.", "vision_tower"),
    ("visual.merger.", "projector"),
    ("visual.deepstack_merger_list.", "projector"),
    ("visual.", "vision_tower"),
    ("vision_model.", "vision_tower"),
    ("connector.", "projector"),
    ("multi_modal_projector.external.", "amp"),
    ("multi_modal_projector.", "projector"),
    ("image_newline", "projector"),
    ("amp.", "amp"),
    ("agf.", "agf"),
)
_VECTORS = ("bias", "query", "gate", "newline", "class_embedding")


def part_of(parameter_name: str) -> Part:
    """The part whose learning rate trains `parameter_name`, a name in the outer model's `named_parameters()`.

    LoRA's matrices are `lora` wherever they sit, and what no other part claims is `llm`.
    """
    if ".lora_" in parameter_name:
        return "lora"
    inner = parameter_name.removeprefix("model.")
    return next((part for prefix, part in _PREFIXES if inner.startswith(prefix)), "llm")


def decays(parameter_name: str) -> bool:
    """Whether weight decay applies: to matrices, not to norms, biases, gates and queries.

    Names decide because AMP and AGF stack what is a vector per layer into tensors of more dimensions.
    """
    *owner, leaf = parameter_name.split(".")
    return not any(word in leaf for word in _VECTORS) and not any("norm" in name for name in [*owner[-1:], leaf])


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

    # transformers 5.17 has a function that sets this config and one that unsets it, but none that returns it.
    config = integration.deepspeed_config() and integration._hf_deepspeed_config_weak_ref()
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if config:
            integration.set_hf_deepspeed_config(config)
