"""The pixels that a processor makes of the images of a sample, and how many image tokens they take.

Legend: I images, P tiles, C channels, H height, W width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import ProcessorMixin

from cli_ray.errors import UserError


@dataclass(frozen=True)
class Pixels:
    """The images of one sample."""

    images: list[NDArray[np.uint8]]
    """[P, C, H, W] each."""
    sizes: NDArray[np.int32]
    """[I, 2] original height and width."""
    num_tokens: list[int]
    """Image tokens that each of them takes in the text."""


class PixelMaker:
    """Runs the image processor of a LLaVA processor to uint8.

    Raises:
        UserError: at construction, when the processor rescales by something else than 1/255.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        image_processor = processor.image_processor
        if not math.isclose(image_processor.rescale_factor, 1 / 255):
            raise UserError(f"the image processor rescales by {image_processor.rescale_factor}, expected 1/255")
        self._processor = processor
        self.tiled = "batch_num_images" in image_processor.model_input_names
        """Several tiles for a sample's only image (LLaVA-OneVision); one each when there are more."""

    def __call__(self, images: Sequence[Image.Image]) -> Pixels:
        """Resizes the images of one sample."""
        if not images:
            return Pixels([], np.zeros((0, 2), np.int32), [])
        batch = [list(images)] if self.tiled else list(images)
        features = self._processor.image_processor(batch, do_rescale=False, do_normalize=False)
        counts = [
            self._processor.replace_image_token(features, i).count(self._processor.image_token)
            for i in range(len(images))
        ]
        arrays = [np.asarray(image, np.uint8) for image in features["pixel_values"]]
        return Pixels(
            images=arrays if self.tiled else [array[None] for array in arrays],
            sizes=np.array([(image.height, image.width) for image in images], np.int32),
            num_tokens=counts,
        )
