"""Packed rows: several samples laid end to end in one row, and attention that stays within each.

A *segment* is one of these samples; the padding behind the last of a row is one too, which nothing reads. `backbone`
hands the language model what `packed_arguments` makes of the numbers of the segments.

Shapes: B rows, T positions, H heads, C width of a head, G segments of all rows.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from cli_ray.config.model import FLASH

MASKED = ("eager", "flex_attention")
"""Kernels whose mask transformers makes of positions that start anew, once a pass for all layers."""


def check_packed(given: Mapping[str, Any], turn_ids: Tensor | None) -> None:
    """Whether packed rows have the arguments that they need, and none that they cannot have.

    Args:
        given: arguments of `forward`.
        turn_ids: as in `forward`.

    Raises:
        ValueError: there is a mask, a cache or positions of one's own, or no turns.
    """
    wrong = [name for name in ("attention_mask", "position_ids", "past_key_values") if given.get(name) is not None]
    if wrong or given.get("use_cache"):
        raise ValueError(f"packed rows (segment_ids) take no {', '.join(wrong) or 'cache'}: the segments say it all")
    if turn_ids is None:
        raise ValueError("packed rows (segment_ids) need turn_ids, which count the replies anew in each segment")


def packed_arguments(segment_BT: Tensor, kernel: str) -> dict[str, Any]:
    """What makes the language model attend within segments alone; one look at the lengths a pass, none a layer.

    Args:
        segment_BT: see `forward`.
        kernel: `attn_implementation` of the language model.

    Raises:
        ValueError: the kernel is not known to keep segments apart.
    """
    first_BT = F.pad(segment_BT[:, 1:] != segment_BT[:, :-1], (1, 0), value=True)
    column_T = torch.arange(segment_BT.shape[1], device=segment_BT.device)
    position_BT = column_T - (column_T * first_BT).cummax(1).values
    given: dict[str, Any] = {"position_ids": position_BT, "use_cache": False}
    if kernel in MASKED:
        return given
    begin_G = first_BT.flatten().nonzero().squeeze(1)
    lengths = F.pad(begin_G, (0, 1), value=segment_BT.numel()).diff().tolist()
    if kernel == "sdpa":
        # A mask of four dimensions is taken as it is, so that none of T x T is made; `sdpa_by_segment` reads none.
        return given | {"attention_mask": segment_BT[:, None, None] >= 0, "segment_lengths": lengths}
    if kernel == FLASH:
        bound_G = F.pad(begin_G, (0, 1), value=segment_BT.numel()).int()
        bounds = {"cu_seq_lens_q": bound_G, "cu_seq_lens_k": bound_G}
        return given | bounds | {"max_length_q": max(lengths), "max_length_k": max(lengths)}
    raise ValueError(
        f"attn_implementation = {kernel!r} is not known to keep the samples of a packed row apart: take one of "
        f"{', '.join(('sdpa', FLASH, *MASKED))}, or do not pack"
    )


def sdpa_by_segment(
    module: nn.Module,
    query_BHTC: Tensor,
    key_BHTC: Tensor,
    value_BHTC: Tensor,
    attention_mask: Tensor | None,
    segment_lengths: list[int] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """`sdpa` of transformers; with `segment_lengths`, causal within each segment.

    That takes no mask, so time and memory grow with the sum of the squared lengths, and torch takes its own
    FlashAttention where it has one. Float[B, T, H, C].

    Args:
        module: the attention.
        query_BHTC: queries.
        key_BHTC: keys, of fewer heads where queries share them.
        value_BHTC: values, as the keys.
        attention_mask: not read with `segment_lengths`.
        segment_lengths: of the segments of all rows in turn, B * T together.
        **kwargs: as in transformers.

    Raises:
        ValueError: the layer sees a window that is shorter than a segment.
    """
    if segment_lengths is None:
        whole: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_BHTC, key_BHTC, value_BHTC, attention_mask, **kwargs
        )
        return whole
    longest, window = max(segment_lengths), kwargs.get("sliding_window")
    if window is not None and window < longest:
        raise ValueError(
            f"a sample of {longest} tokens in a packed row, but layers of the language model see {window}: pack with "
            f"{FLASH!r}, or not at all"
        )
    flat = [tensor.transpose(1, 2).flatten(0, 1) for tensor in (query_BHTC, key_BHTC, value_BHTC)]
    segments = zip(*[tensor.split(segment_lengths) for tensor in flat], strict=True)
    parts = [
        sdpa_attention_forward(module, *[tensor.transpose(0, 1).unsqueeze(0) for tensor in of_one], None, **kwargs)[0]
        for of_one in segments
    ]
    batch, _, length, _ = query_BHTC.shape
    return torch.cat(parts, 1).unflatten(1, (batch, length)).squeeze(0), None


# Under the name of the kernel that it extends: without `segment_lengths` it is that kernel, and so it is there however
# a model was told its attention, also when a checkpointed layer runs again in the backward pass.
AttentionInterface.register("sdpa", sdpa_by_segment)
