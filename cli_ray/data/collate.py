"""From encoded samples to the tensors of one forward pass.

`share` collates on the CPU, just before a pass; the engine normalises the pixels on its device.

Legend: B samples, T tokens, I images, P tiles, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cli_ray.data.sample import IGNORED, Encoded


@dataclass(frozen=True)
class MicroBatch:
    """The samples of one forward pass, on the CPU: a row each, padded on the right, or packed, all in one row.

    Without any sample it holds a dummy row of two tokens and nothing supervised, so that a rank whose
    samples were all bad still takes part in the step.
    """

    inputs: dict[str, Tensor]
    """Arguments of the model: input_ids int64 [B, T]; attention_mask int64 [B, T] or, packed, segment_ids int64 [1, T],
    the number of the sample at each token; with images pixel_values uint8, not normalised, [I, C, H, W], for tiled
    models [I, P, C, H, W] with image_sizes [I, 2] (see `Encoded.sizes`) and batch_num_images, of each
    sample."""
    labels: Tensor
    """int64 [B, T]; -100 where nothing is supervised, and at the first token of a sample in a pack, which nothing
    predicts."""
    turn_ids: Tensor
    """int64 [B, T]; how many replies of its sample have begun at each token, -1 at padding."""
    ids: list[str]
    """Ids of the samples; empty for the dummy."""
    sources: list[str]
    """Source label of each sample."""
    place: tuple[int, int]
    """What dropout draws by. Of a micro-batch its lane, and its number among those that the step takes of it; of a pack
    the rank, and the number of the pack."""

    @property
    def sample_BT(self) -> Tensor:
        """Int64: number of the sample at each token."""
        row_B1 = torch.arange(len(self.labels)).unsqueeze(1)
        return self.inputs.get("segment_ids", row_B1.expand_as(self.labels))


def collate(rows: Sequence[Encoded], pad_token_id: int, tiled: bool, place: tuple[int, int] = (0, 0)) -> MicroBatch:
    """Pads and stacks the samples of a micro-batch.

    Args:
        rows: the samples, in order.
        pad_token_id: fills `input_ids` on the right.
        tiled: the model takes tiles per image (LLaVA-OneVision) instead of one square image.
        place: see `MicroBatch`.
    """
    ids = [row.input_ids for row in rows] or [np.full(2, pad_token_id, np.int32)]
    labels = [row.labels for row in rows] or [np.full(2, IGNORED, np.int32)]
    mask_BT = _pad([np.ones_like(row) for row in ids], 0)
    turns = [row.turns for row in rows] or [np.zeros(2, np.int32)]
    inputs = {"input_ids": _pad(ids, pad_token_id), "attention_mask": mask_BT}
    return MicroBatch(
        inputs=inputs | _images(rows, tiled),
        labels=_pad(labels, IGNORED),
        turn_ids=_pad(turns, -1),
        ids=[row.id for row in rows],
        sources=[row.source for row in rows],
        place=place,
    )


def pack(rows: Sequence[Encoded], pad_token_id: int, tiled: bool, place: tuple[int, int] = (0, 0)) -> MicroBatch:
    """Lays samples end to end in one row, without padding; arguments as for `collate`."""
    if not rows:
        dummy = collate(rows, pad_token_id, tiled, place)
        segments_1T = torch.zeros_like(dummy.labels)
        return replace(dummy, inputs={"input_ids": dummy.inputs["input_ids"], "segment_ids": segments_1T})
    lengths = torch.tensor([len(row.input_ids) for row in rows])
    labels_1T = _pad([np.concatenate([row.labels for row in rows])], IGNORED)
    labels_1T[0, lengths.cumsum(0) - lengths] = IGNORED
    inputs = {
        "input_ids": _pad([np.concatenate([row.input_ids for row in rows])], pad_token_id),
        "segment_ids": torch.arange(len(rows)).repeat_interleave(lengths).unsqueeze(0),
    }
    return MicroBatch(
        inputs=inputs | _images(rows, tiled),
        labels=labels_1T,
        turn_ids=_pad([np.concatenate([row.turns for row in rows])], -1),
        ids=[row.id for row in rows],
        sources=[row.source for row in rows],
        place=place,
    )


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Pixels as the processor would give them, computed on the device they are on.

    Args:
        pixels: uint8 [..., C, H, W].
        mean: of each channel, in 0..1.
        std: of each channel, in 0..1.
        dtype: of the result; the arithmetic is fp32.
    """
    mean_C11 = torch.tensor(mean, device=pixels.device).view(-1, 1, 1)
    std_C11 = torch.tensor(std, device=pixels.device).view(-1, 1, 1)
    return ((pixels.float() / 255 - mean_C11) / std_C11).to(dtype)


def _pad(rows: Sequence[NDArray[np.int32]], value: int) -> Tensor:
    padded_BT = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.int64)
    for padded_T, row in zip(padded_BT, rows, strict=True):
        padded_T[: len(row)] = torch.from_numpy(row.astype(np.int64))
    return padded_BT


def _images(rows: Sequence[Encoded], tiled: bool) -> dict[str, Tensor]:
    """Image inputs of the model; none when no row has an image."""
    images = [image for row in rows for image in row.images]
    if not images:
        return {}
    if not tiled:
        return {"pixel_values": torch.from_numpy(np.concatenate(images))}
    pixels_IPCHW = np.zeros((len(images), max(map(len, images)), *images[0].shape[1:]), np.uint8)
    for padded_PCHW, image in zip(pixels_IPCHW, images, strict=True):
        padded_PCHW[: len(image)] = image
    return {
        "pixel_values": torch.from_numpy(pixels_IPCHW),
        "image_sizes": torch.from_numpy(np.concatenate([row.sizes for row in rows]).astype(np.int64)),
        "batch_num_images": torch.tensor([len(row.images) for row in rows]),
    }
