"""Where the rows of visual features belong in the batch.

Index tensors that `backbone` makes once a pass and that the gates and the injection use.

Shapes: B samples or packs of them, T positions, R rows (visual tokens of all images in placeholder order), I images, P
rows of the longest image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class PassState:
    """Tensors of one forward pass that follow the modules of a model spread over several devices."""

    def to(self, device: torch.device | int | str) -> Self:
        """The same with all tensors on `device`; accelerate's hooks call it before a module that is there."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in values.items() if hasattr(value, "to")})


@dataclass(frozen=True)
class Layout(PassState):
    """Index tensors between visual rows, images and positions; they serve any number of images in each of the B."""

    position_R: Tensor
    """Int64[R]: flat position b * T + t of each row."""
    image_R: Tensor
    """Int64[R]: image of each row."""
    sample_I: Tensor
    """Int64[I]: b of each image, ascending."""
    column_I: Tensor
    """Int64[I]: position t of the first row of each image."""
    row_IP: Tensor
    """Int64[I, P]: rows of each image, padded with its last one."""
    real_IP: Tensor
    """Bool[I, P]: False at that padding."""


def lay_out(placeholder_BT: Tensor, lengths: Sequence[int]) -> Layout:
    """The layout of images of `lengths` rows at as many placeholder positions, in row-major order."""
    position_R = torch.nonzero_static(placeholder_BT.flatten(), size=sum(lengths)).squeeze(1)
    return _from_positions(position_R, lengths, placeholder_BT.shape[1])


def lay_out_dummy(placeholder_BT: Tensor, lengths: Sequence[int]) -> Layout:
    """A layout that puts every row at the first position, for features that count nothing."""
    position_R = placeholder_BT.new_zeros(sum(lengths), dtype=torch.long)
    return _from_positions(position_R, lengths, placeholder_BT.shape[1])


def _from_positions(position_R: Tensor, lengths: Sequence[int], length_T: int) -> Layout:
    device = position_R.device
    length_I = torch.tensor(lengths, device=device)
    first_I1 = (length_I.cumsum(0) - length_I).unsqueeze(1)
    offset_P = torch.arange(max(lengths), device=device)
    images_I = torch.arange(len(lengths), device=device)
    flat_I = position_R[first_I1.squeeze(1)]
    return Layout(
        position_R=position_R,
        image_R=images_I.repeat_interleave(length_I, output_size=sum(lengths)),
        sample_I=flat_I // length_T,
        column_I=flat_I % length_T,
        row_IP=first_I1 + torch.minimum(offset_P, length_I.unsqueeze(1) - 1),
        real_IP=offset_P < length_I.unsqueeze(1),
    )
