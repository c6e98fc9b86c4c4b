"""From encoded samples to the tensors of one forward pass.

`stream` collates micro-batches on the CPU; the engine normalises their pixels on its device.

Legend: B samples, T tokens, I images, P tiles, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cli_ray.data.sample import IGNORED, BadSample, Encoded


@dataclass(frozen=True)
class MicroBatch:
    """The samples of one forward pass, on the CPU. Text is padded on the right.

    Without any sample it holds a dummy row of two tokens and nothing supervised, so that a rank whose
    samples were all bad still takes part in the step.
    """

    inputs: dict[str, Tensor]
    """Arguments of the model: input_ids and attention_mask int64 [B, T]; with images pixel_values uint8,
    not normalised, [I, C, H, W], for tiled models [I, P, C, H, W] with image_sizes [I, 2] (see
    `Encoded.sizes`) and batch_num_images [B]."""
    labels: Tensor
    """int64 [B, T]; -100 where nothing is supervised."""
    turn_ids: Tensor
    """int64 [B, T]; how many replies have begun at each token, -1 at padding."""
    ids: list[str]
    """Ids of the rows; empty for the dummy."""
    sources: list[str]
    """Source label of each row."""
    bad: list[BadSample]
    """Samples that should have stood here."""
    place: tuple[int, int]
    """Lane, and number among the micro-batches that the step takes of it."""

    @property
    def num_bad(self) -> int:
        """Samples that are lost with the bad ones, see `BadSample.samples`."""
        return sum(sample.samples for sample in self.bad)

    @property
    def num_supervised(self) -> int:
        """Tokens that carry loss. The first of a row cannot: nothing predicts it."""
        return int((self.labels[:, 1:] != IGNORED).sum())


def collate(
    rows: Sequence[Encoded | BadSample], pad_token_id: int, tiled: bool, place: tuple[int, int] = (0, 0)
) -> MicroBatch:
    """Pads and stacks one micro-batch.

    Args:
        rows: its samples and holes, in order.
        pad_token_id: fills `input_ids` on the right.
        tiled: the model takes tiles per image (LLaVA-OneVision) instead of one square image.
        place: see `MicroBatch`.
    """
    good = [row for row in rows if isinstance(row, Encoded)]
    ids = [row.input_ids for row in good] or [np.full(2, pad_token_id, np.int32)]
    labels = [row.labels for row in good] or [np.full(2, IGNORED, np.int32)]
    mask_BT = _pad([np.ones_like(row) for row in ids], 0)
    turns = [row.turns for row in good] or [np.zeros(2, np.int32)]
    inputs = {"input_ids": _pad(ids, pad_token_id), "attention_mask": mask_BT}
    return MicroBatch(
        inputs=inputs | _images(good, tiled),
        labels=_pad(labels, IGNORED),
        turn_ids=_pad(turns, -1),
        ids=[row.id for row in good],
        sources=[row.source for row in good],
        bad=[row for row in rows if isinstance(row, BadSample)],
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
