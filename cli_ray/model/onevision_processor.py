"""The processor of LLaVA-OneVision: it keeps images within a budget, and needs no torchvision."""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import BatchFeature, LlavaOnevisionProcessor
from transformers.image_utils import get_image_size, make_flat_list_of_images

from cli_ray.config import DataConfig
from cli_ray.costs.sizes import TILED_LENGTH
from cli_ray.errors import UserError
from cli_ray.model.processor import FamilyProcessor
from cli_ray.tiles import Budget, Shrinker, Size, Tiles, View


class CliLlavaOnevisionProcessor(FamilyProcessor, LlavaOnevisionProcessor):
    """`LlavaOnevisionProcessor` without its video processor, with an image budget, whose chats tell where their replies
    begin.

    The video processor of transformers needs torchvision, which has no build for some of the machines
    that we run on, and no video is read here. A processor's parts are the modality names in the
    signature of `__init__` (`ProcessorMixin.get_attributes`), so leaving one out is enough: saving and
    loading follow. Arguments are those of the base class, and the budget, see `Budget`.
    """

    usual_length = TILED_LENGTH

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        image_token: str = "<image>",
        video_token: str = "<video>",
        vision_aspect_ratio: str = "anyres_max_9",
        max_tiles: int | None = None,
        max_image_tokens: int | None = None,
    ) -> None:
        self.max_tiles = max_tiles
        self.max_image_tokens = max_image_tokens
        super().__init__(
            image_processor,
            tokenizer,
            num_image_tokens=num_image_tokens,
            vision_feature_select_strategy=vision_feature_select_strategy,
            chat_template=chat_template,
            image_token=image_token,
            video_token=video_token,
            vision_aspect_ratio=vision_aspect_ratio,
        )

    @property
    def tiles(self) -> Tiles:
        """The canvases of its image processor."""
        images, side = self.image_processor, isqrt(self.num_image_tokens)
        return Tiles.of(images.image_grid_pinpoints, images.size["height"], side, self.vision_aspect_ratio)

    def limit_images(self, data: DataConfig) -> None:
        """See `FamilyProcessor`."""
        tiles = self.tiles
        if data.max_tiles is not None and data.max_tiles < tiles.fewest:
            raise UserError(
                f"data.max_tiles = {data.max_tiles}, but the smallest of the model's image_grid_pinpoints has "
                f"{tiles.fewest} tiles: raise it to that"
            )
        if data.max_image_tokens is not None and data.max_image_tokens < tiles.least_tokens:
            raise UserError(
                f"data.max_image_tokens = {data.max_image_tokens}, but an image on the fewest tiles takes up to "
                f"{tiles.least_tokens} tokens: raise it to that"
            )
        budget = Budget.of(data, self.usual_length)
        self.max_tiles, self.max_image_tokens = budget.max_tiles, budget.max_tokens

    @property
    def shrinker(self) -> Shrinker:
        """See `FamilyProcessor`."""
        return Shrinker(self.tiles, Budget(self.max_tiles, self.max_image_tokens))

    def view(self, sizes: Sequence[Size]) -> View:
        """See `FamilyProcessor`; several images are not tiled."""
        if len(sizes) == 1:
            return self.tiles.view(sizes[0], Budget(self.max_tiles, self.max_image_tokens))
        side = isqrt(self.num_image_tokens)
        return View(0, (side, side), side)

    def _process_images(self, images: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        """As in transformers; with a budget the image of each sample that has only one is laid within it."""
        if self.max_tiles is None and self.max_image_tokens is None:
            processed: tuple[Any, list[str]] = super()._process_images(images, **kwargs)
            return processed
        tensors = kwargs.pop("return_tensors", None)
        is_nested = isinstance(images, list | tuple) and isinstance(images[0], list | tuple)
        nested = images if is_nested else [[image] for image in make_flat_list_of_images(images)]
        samples = [self._sample(sample, kwargs) for sample in nested if sample]
        joined = {name: [value for sample in samples for value in sample[name]] for name in samples[0]}
        if kwargs.get("do_pad", self.image_processor.do_pad):
            joined["pixel_values"] = _padded(joined["pixel_values"])
        features = BatchFeature(joined, tensor_type=tensors)
        return features, [self.replace_image_token(features, i) for i in range(len(joined["image_sizes"]))]

    def _sample(self, images: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the image processor makes of the images of one sample."""
        laid = self.shrinker.shrunk(_size_of(images[0])) if len(images) == 1 else None
        if laid is None:
            return self.image_processor([images], **kwargs)
        features = self.image_processor([images], **dict(kwargs) | {"image_grid_pinpoints": [list(laid.canvas)]})
        features["image_sizes"] = [laid.size]
        return features


def _padded(images: Sequence[Any]) -> list[NDArray[Any]]:
    """Tiles of each image [P, C, H, W], zeros added up to the image of most tiles."""
    most = max(map(len, images))
    return [np.pad(image, ((0, most - len(image)), (0, 0), (0, 0), (0, 0))) for image in images]


def _size_of(image: Any) -> Size:
    """Of an image of any kind that processors take."""
    height, width = (image.height, image.width) if isinstance(image, Image.Image) else get_image_size(np.asarray(image))
    return height, width
