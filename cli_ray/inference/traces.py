"""What a batch's trace says of each of its items: gates, the injected share, and where in the picture it is.

The engine asks for it where a request wants the gates, `predictor` where an evaluation records them.

Shapes: M injected decoder layers, I images, N tapped vision layers, R visual rows, H x W patches.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cli_ray.inference.injected import HeatMap, Injected
from cli_ray.model.injection import InjectionTrace
from cli_ray.tiles import View

MOST_PATCHES = 32
"""Along a side of a heat map; of finer ones, means are kept."""


def injected(trace: InjectionTrace, layers: tuple[tuple[int, ...], tuple[int, ...]], images: range) -> Injected | None:
    """What was injected for a prompt; None if it has no images.

    Args:
        trace: of its batch.
        layers: the tapped vision layers and the injected decoder layers.
        images: those of the item among those of the batch.
    """
    if not images:
        return None
    gates_MIN = trace.gates_MIN[:, images.start : images.stop]
    own_R = (trace.image_R >= images.start) & (trace.image_R < images.stop)
    added_M, hidden_M = (
        torch.linalg.vector_norm(norm_MR[:, own_R], dim=1) for norm_MR in (trace.added_MR, trace.hidden_MR)
    )
    return Injected(
        vision_layers=layers[0],
        decoder_layers=layers[1],
        gate_mean=tuple(map(_rounded, gates_MIN.mean(1))),
        gate_max=tuple(map(_rounded, gates_MIN.abs().amax(1))),
        share=_rounded(added_M / hidden_M),
    )


def heat_map(trace: InjectionTrace, image: int, view: View) -> HeatMap:
    """Where in the picture injection changed the hidden states how much.

    Args:
        trace: of the batch.
        image: of the batch.
        view: how its rows lie in the picture.
    """
    own_R = trace.image_R == image
    change_MR = (trace.added_MR[:, own_R] / trace.hidden_MR[:, own_R]).nan_to_num()
    height, width = view.grid
    row_HW = view.first + torch.arange(height).unsqueeze(1) * view.stride + torch.arange(width)
    change_MHW = _coarse(change_MR[:, row_HW])
    top = float(change_MHW.max())
    values_MHW = (255 * change_MHW / top if top else change_MHW).round().to(torch.uint8)
    grid = (values_MHW.shape[1], values_MHW.shape[2])
    return HeatMap(grid=grid, area=view.area, top=top, values=values_MHW.numpy().tobytes())


def _coarse(change_MHW: Tensor) -> Tensor:
    """The map with no more than `MOST_PATCHES` along a side."""
    height, width = change_MHW.shape[1:]
    scale = max(1.0, max(height, width) / MOST_PATCHES)
    size = (max(1, round(height / scale)), max(1, round(width / scale)))
    return F.adaptive_avg_pool2d(change_MHW.unsqueeze(0), size).squeeze(0)


def _rounded(values: Tensor) -> tuple[float, ...]:
    """Three digits, for there is one for each gate of each sample."""
    return tuple(float(f"{value:.3g}") for value in values.tolist())


def ranges(counts: Sequence[int]) -> list[range]:
    """The images of each item among those of a batch."""
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [range(end - count, end) for end, count in zip(ends, counts, strict=True)]
