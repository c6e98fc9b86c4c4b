"""What the gates of an image may read: everything before the first reply that follows the image.

A later reply leaks into no gate, the replies before the image are given at inference too, and a gate never changes once
it is computed: so a training pass, a chat that is encoded anew and one that goes on with its cache agree.

Shapes: B rows, T positions of this pass, S positions with those in the cache before them, I images, K contexts of the
row that has most. A row is a sample, or several packed ones (`segments`).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cli_ray.model.rows import Layout, PassState

IGNORED = -100
PADDING = -1


@dataclass(frozen=True)
class Contexts(PassState):
    """The positions that are read. Images that no reply parts share a context, so mostly there is one a sample."""

    mask_BKS: Tensor
    """Bool; nowhere True for a context that a row does not have."""
    image_I: Tensor
    """Int64: the context of each image, numbered through all rows, b * K + k."""


def turns_of_labels(labels_BT: Tensor) -> Tensor:
    """Turns, as `forward` takes them, where what is supervised is what was replied. Int64[B, T]."""
    return (labels_BT != IGNORED).cumsum(1)


def turns_or_default(turn_ids: Tensor | None, attention_mask: Any, batch: int, length: int, device: Any) -> Tensor:
    """Int64[B, S]: the given turns, or a single one; `PADDING` where the mask, if it has two dimensions, is 0.

    Raises:
        ValueError: the turns do not cover this pass and the cache.
    """
    turn_BS = torch.zeros(batch, length, dtype=torch.long, device=device) if turn_ids is None else turn_ids.to(device)
    if turn_BS.shape != (batch, length):
        raise ValueError(
            f"turn_ids is {list(turn_BS.shape)}, but the tokens are {batch} x {length}: with a cache, turn_ids and "
            "attention_mask are those of the whole conversation"
        )
    if isinstance(attention_mask, Tensor) and attention_mask.shape == turn_BS.shape:
        turn_BS = turn_BS.masked_fill(attention_mask.to(device) == 0, PADDING)
    return turn_BS


def contexts_of(turn_BS: Tensor, layout: Layout, past: int, *, per_image: bool, segment_BS: Tensor | None) -> Contexts:
    """The contexts of the images of this pass.

    Args:
        turn_BS: grows along a sample wherever a reply begins, and may grow within one; `PADDING` at padding.
        layout: where the images lie.
        past: S - T.
        per_image: up to the first reply after the image, or after the beginning of the sample.
        segment_BS: number of the sample in its row, where rows are packed; a context ends with its sample on both
            sides.
    """
    row_I, column_I = layout.sample_I, past + layout.column_I
    first_I = turn_BS[row_I, column_I] if per_image else torch.zeros_like(row_I)
    segment_I = torch.zeros_like(row_I) if segment_BS is None else segment_BS[row_I, column_I]
    begins_I = torch.zeros_like(row_I)
    differs_I = (first_I[1:] != first_I[:-1]) | (segment_I[1:] != segment_I[:-1])
    begins_I[1:] = differs_I & (row_I[1:] == row_I[:-1])
    number_I = begins_I.cumsum(0)
    number_I = number_I - number_I[torch.searchsorted(row_I, row_I)]
    most = int(number_I.max()) + 1
    last_BK = turn_BS.new_full((len(turn_BS), most), PADDING)
    last_BK[row_I, number_I] = first_I
    turn_B1S = turn_BS.unsqueeze(1)
    mask_BKS = (turn_B1S != PADDING) & (turn_B1S <= last_BK.unsqueeze(2))
    if segment_BS is not None:
        segment_BK = torch.full_like(last_BK, PADDING)
        segment_BK[row_I, number_I] = segment_I
        mask_BKS &= segment_BS.unsqueeze(1) == segment_BK.unsqueeze(2)
    return Contexts(mask_BKS, row_I * most + number_I)
