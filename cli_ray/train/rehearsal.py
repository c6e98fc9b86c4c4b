"""The longest batch a run can meet, a micro-batch or a pack, made up before the first sample is read.

The trainer builds it to check lengths; each rank trains on it with zero weight, to find memory and shape faults early.
"""

from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image

from cli_ray.config import RunConfig
from cli_ray.data.collate import MicroBatch, collate, pack
from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import IMAGE_MARK, Encoded, Message, Sample
from cli_ray.errors import UserError

SIDES = (2304, 1152, 768, 384, 336, 64)
"""Sides of the image to try, pixels; the largest fills the 6 x 6 tiles of LLaVA-OneVision."""


def longest_batch(encoder: Encoder, config: RunConfig) -> MicroBatch:
    """A micro-batch of `train.micro_batch_size` samples of `data.max_length` tokens, all with an image; or a pack of
    `train.pack_tokens` with as many images as fit.

    Raises:
        UserError: not even a small image fits into `data.max_length`.
    """
    encoded = _largest_image(encoder)
    if encoded is None:
        raise UserError(f"data.max_length = {config.data.max_length} has no room for a single image: raise it")
    if config.packs:
        count, rest = divmod(config.pack_tokens, len(encoded.input_ids))
        last = _lengthened(encoded, len(encoded.input_ids) + rest)
        return pack([encoded] * (count - 1) + [last], encoder.pad_token_id, encoder.tiled)
    longest = _lengthened(encoded, config.data.max_length)
    return collate([longest] * config.train.micro_batch_size, encoder.pad_token_id, encoder.tiled)


def _lengthened(encoded: Encoded, length: int) -> Encoded:
    """The sample with a longer reply."""
    missing = length - len(encoded.input_ids)
    text = np.full(missing, encoded.input_ids[-1], dtype=encoded.input_ids.dtype)
    return replace(
        encoded,
        input_ids=np.concatenate([encoded.input_ids, text]),
        labels=np.concatenate([encoded.labels, text]),
        turns=np.pad(encoded.turns, (0, missing), mode="edge"),
    )


def _largest_image(encoder: Encoder) -> Encoded | None:
    for side in SIDES:
        buffer = BytesIO()
        Image.new("RGB", (side, side)).save(buffer, "PNG")
        messages = [Message("user", IMAGE_MARK), Message("assistant", "a")]
        row = encoder(Sample("rehearsal", [buffer.getvalue()], messages, "rehearsal", "made up"))
        if isinstance(row, Encoded):
            return row
        if row.reason != "too long":
            raise UserError(f"the processor cannot encode a plain image and question: {row.reason}: {row.detail}")
    return None
