"""The pixels that a processor makes of the images of a sample, and how many image tokens they take.

The image processors of transformers turn an image into an array and back at each of their steps, which takes as long
as the resizing itself. The steps of those that the families use are taken here on Pillow's image, in the same order,
to the same pixels, bit for bit; a processor of another class, or with other settings, is called as it is.

Legend: I images, P tiles, C channels, H height, W width.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import ProcessorMixin
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from cli_ray.data.sample import Shrunk
from cli_ray.errors import UserError
from cli_ray.tiles import Laid, Shrinker


@dataclass(frozen=True)
class Pixels:
    """The images of one sample."""

    images: list[NDArray[np.uint8]]
    """[P, C, H, W] each."""
    sizes: NDArray[np.int32]
    """[I, 2] height and width as in `Encoded`."""
    num_tokens: list[int]
    """Image tokens that each of them takes in the text."""
    shrunk: Shrunk | None = None
    """The only image, where it was shrunk."""


class PixelMaker:
    """Runs the image processor of a LLaVA processor to uint8.

    Args:
        processor: of transformers.
        shrinker: what keeps a sample's only image within a budget, where there are tiles.

    Raises:
        UserError: at construction, when the processor rescales by something else than 1/255.
    """

    def __init__(self, processor: ProcessorMixin, shrinker: Shrinker | None = None) -> None:
        image_processor = processor.image_processor
        if not math.isclose(image_processor.rescale_factor, 1 / 255):
            raise UserError(f"the image processor rescales by {image_processor.rescale_factor}, expected 1/255")
        self._processor, self._shrinker = processor, shrinker
        self.tiled = "batch_num_images" in image_processor.model_input_names
        """Several tiles for a sample's only image (LLaVA-OneVision); one each when there are more."""

    def __call__(self, images: Sequence[Image.Image], room: int | None = None) -> Pixels:
        """Resizes the images of one sample, of mode RGB.

        Args:
            images: of the sample.
            room: tokens that its text leaves to them; a tiled image is shrunk to that, as far as it can be.
        """
        if not images:
            return Pixels([], np.zeros((0, 2), np.int32), [])
        sizes = [(image.height, image.width) for image in images]
        laid = self._shrinker.shrunk(sizes[0], room) if self._shrinker and len(images) == 1 else None
        arrays = self._resized(images, laid)
        shown = [laid.size] if laid else sizes
        shrunk = Shrunk(sizes[0], laid.full_tokens, laid.tokens) if laid else None
        return Pixels(arrays, np.array(shown, np.int32), self._count_tokens(arrays, shown), shrunk)

    def _resized(self, images: Sequence[Image.Image], laid: Laid | None) -> list[NDArray[np.uint8]]:
        settings = copy(self._processor.image_processor)
        if laid:
            settings.image_grid_pinpoints = [list(laid.canvas)]
        if resize := resizer(settings):
            return resize(images)
        batch = [list(images)] if self.tiled else list(images)
        arrays = [
            np.asarray(image, np.uint8)
            for image in settings(batch, do_rescale=False, do_normalize=False)["pixel_values"]
        ]
        return arrays if self.tiled else [array[None] for array in arrays]

    def _count_tokens(self, images: list[NDArray[np.uint8]], sizes: list[tuple[int, int]]) -> list[int]:
        """As the processor counts them."""
        features = {
            "pixel_values": images if self.tiled else [image[0] for image in images],
            "image_sizes": sizes,
            "batch_num_images": [len(images)],
        }
        token = self._processor.image_token
        return [self._processor.replace_image_token(features, i).count(token) for i in range(len(images))]


def resizer(settings: Any) -> Callable[[Sequence[Image.Image]], list[NDArray[np.uint8]]] | None:
    """What gives the pixels [P, C, H, W] of each image of a sample as an image processor does; None if it is unknown.

    Args:
        settings: the image processor, read at each call.
    """
    size, crop, mean = settings.size, settings.crop_size, settings.image_mean
    if not settings.do_resize or not isinstance(settings.resample, int) or not mean or len(mean) != 3:
        return None
    if type(settings) is LlavaImageProcessorPil:
        is_known = dict(size).keys() == {"shortest_edge"} and settings.do_center_crop
        if is_known and max(crop.height, crop.width) <= size.shortest_edge:
            return lambda images: [_cropped(image, settings) for image in images]
    if type(settings) is LlavaOnevisionImageProcessorPil:
        is_known = dict(size).keys() == {"height", "width"} and not settings.do_center_crop and not crop
        sides = {side % size.height for pair in settings.image_grid_pinpoints for side in pair} if is_known else set()
        if sides == {0} and size.height == size.width:
            return lambda images: _tiled(images, settings)
    return None


def _cropped(image: Image.Image, settings: Any) -> NDArray[np.uint8]:
    """The middle of the image, whose shorter side is resized: [1, C, H, W]."""
    if settings.do_pad:
        image = _squared(image, settings.image_mean)
    short, crop = settings.size.shortest_edge, settings.crop_size
    long = int(short * max(image.size) / min(image.size))
    width, height = (short, long) if image.width <= image.height else (long, short)
    left, top = (width - crop.width) // 2, (height - crop.height) // 2
    resized_HWC = np.asarray(image.resize((width, height), settings.resample))
    return _channels_first(resized_HWC[top : top + crop.height, left : left + crop.width])[None]


def _tiled(images: Sequence[Image.Image], settings: Any) -> list[NDArray[np.uint8]]:
    """The whole of a sample's only image and its tiles, row by row; of several images, the whole of each."""
    side, resample = settings.size.height, settings.resample
    if len(images) > 1:
        squares = [_squared(image, settings.image_mean) for image in images]
        return [_channels_first(np.asarray(square.resize((side, side), resample)))[None] for square in squares]
    image = images[0]
    height, width = select_best_resolution((image.height, image.width), settings.image_grid_pinpoints)
    rows, columns = height // side, width // side
    canvas_HWC = _centred(image, height, width, resample)
    tiles_PCHW = np.empty((1 + rows * columns, 3, side, side), np.uint8)
    tiles_PCHW[0] = np.moveaxis(np.asarray(image.resize((side, side), resample)), -1, 0)
    grid = canvas_HWC.reshape(rows, side, columns, side, 3).transpose(0, 2, 4, 1, 3)
    tiles_PCHW[1:].reshape(rows, columns, 3, side, side)[:] = grid
    return [tiles_PCHW]


def _centred(image: Image.Image, height: int, width: int, resample: int) -> NDArray[np.uint8]:
    """As large as it fits, on black: [H, W, C]."""
    by_width, by_height = width / image.width, height / image.height
    if by_width < by_height:
        fitted = (width, min(math.ceil(image.height * by_width), height))
    else:
        fitted = (min(math.ceil(image.width * by_height), width), height)
    left, top = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    canvas_HWC = np.zeros((height, width, 3), np.uint8)
    canvas_HWC[top : top + fitted[1], left : left + fitted[0]] = np.asarray(image.resize(fitted, resample))
    return canvas_HWC


def _squared(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """In the middle of a square of the mean colour."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in mean))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _channels_first(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.moveaxis(image_HWC, -1, 0))
