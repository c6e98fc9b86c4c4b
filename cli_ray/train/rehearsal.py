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

SIDE = 64
"""Of the image that shows whether there is room for any, pixels."""


def longest_batch(encoder: Encoder, config: RunConfig) -> MicroBatch:
    """A pack of `train.pack_tokens` with as many images of most tiles as fit; without packing, a micro-batch of
    `train.micro_batch_size` samples of `data.max_length` tokens, each with such an image.

    Raises:
        UserError: not even a small image fits into `data.max_length`.
    """
    encoded = _largest_image(encoder)
    if config.packs:
        count, rest = divmod(config.pack_tokens, len(encoded.input_ids))
        last = _lengthened(encoded, len(encoded.input_ids) + rest)
        return pack([encoded] * (count - 1) + [last], encoder.pad_token_id, encoder.tiled)
    longest = _lengthened(encoded, encoder.max_length)
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


def _largest_image(encoder: Encoder) -> Encoded:
    small = _encoded(encoder, (SIDE, SIDE))
    largest = encoder.largest_image(small)
    return small if largest is None else _encoded(encoder, largest)


def _encoded(encoder: Encoder, size: tuple[int, int]) -> Encoded:
    """A sample with a black image of so many pixels in height and width."""
    height, width = size
    buffer = BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    messages = [Message("user", IMAGE_MARK), Message("assistant", "a")]
    row = encoder(Sample("rehearsal", [buffer.getvalue()], messages, "rehearsal", "made up"))
    if isinstance(row, Encoded):
        return row
    if row.reason == "too long":
        raise UserError(f"data.max_length = {encoder.max_length} has no room for a single image: raise it")
    raise UserError(f"the processor cannot encode a plain image and question: {row.reason}: {row.detail}")
