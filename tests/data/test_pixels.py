"""Pixels made on Pillow's images equal those of the processors of transformers, bit for bit."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, ProcessorMixin
from transformers.image_utils import SizeDict
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.costs.tiny import TinySize
from cli_ray.data.images import Limits, decode_all
from cli_ray.data.pixels import PixelMaker, resizer
from cli_ray.data.sample import Sample
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import read_all
from tests.shared import SHARED, needs

PHOTOS = SHARED / "data" / "photos" / "photos-00000.tar"
SIZES = [
    *((32, 32), (1, 1), (1, 7), (200, 1), (31, 33), (33, 31), (640, 480), (375, 500), (336, 336), (337, 335)),
    *((16, 16), (64, 32), (96, 96), (95, 97), (500, 31), (2, 3), (333, 500), (101, 300), (448, 336), (1024, 768)),
]
"""Width and height: smaller and larger than a tile, square, thin, odd, and of exactly the sizes that are asked for."""


def pictures(sizes: list[tuple[int, int]]) -> list[Image.Image]:
    """Noise over a slope, so that every resizing shows."""
    random = np.random.default_rng(0)
    made = []
    for width, height in sizes:
        slope = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
        made.append(Image.fromarray((slope + random.integers(0, 56, slope.shape)).astype(np.uint8)))
    return made


def by_the_processor(processor: ProcessorMixin, images: list[Image.Image]) -> tuple[list[Any], list[int]]:
    """Arrays of uint8 and image tokens, by transformers alone."""
    tiled = "batch_num_images" in processor.image_processor.model_input_names
    batch: Any = [images] if tiled else images
    features = processor.image_processor(batch, do_rescale=False, do_normalize=False)
    arrays = [array if tiled else array[None] for array in features["pixel_values"]]
    tokens = [processor.replace_image_token(features, i).count(processor.image_token) for i in range(len(images))]
    return arrays, tokens


def assert_equal(processor: ProcessorMixin, images: list[Image.Image]) -> None:
    """Pixels, original sizes and counts of tokens of one sample."""
    own = PixelMaker(processor)(images)
    arrays, tokens = by_the_processor(processor, images)
    assert own.num_tokens == tokens
    assert own.sizes.tolist() == [[image.height, image.width] for image in images]
    for image, ours, theirs in zip(images, own.images, arrays, strict=True):
        assert ours.dtype == theirs.dtype == np.uint8
        assert np.array_equal(ours, theirs), image.size


def is_known(processor: ProcessorMixin) -> bool:
    """Whether its pixels are made without it."""
    settings = processor.image_processor
    return resizer(settings, getattr(settings, "image_grid_pinpoints", [])) is not None


def processors(side: int) -> list[ProcessorMixin]:
    """LLaVA's with and without padding to a square, OneVision's, and each with another filter."""
    made = []
    for family in ("llava", "llava_onevision"):
        for filter_ in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
            processor = tiny_processor(family, TinySize(image_size=side))
            processor.image_processor.resample = filter_
            made.append(processor)
    padding = tiny_processor("llava", TinySize(image_size=side))
    padding.image_processor.do_pad = True
    return [*made, padding]


@pytest.mark.parametrize("side", [32, 112])
def test_equal_pixels_of_every_shape(side: int) -> None:
    for processor in processors(side):
        assert is_known(processor)
        for image in pictures(SIZES):
            assert_equal(processor, [image])


def test_equal_pixels_of_several_images() -> None:
    for processor in processors(32):
        assert_equal(processor, pictures(SIZES[:2]))
        assert_equal(processor, pictures(SIZES[4:9]))


def test_equal_pixels_with_the_grid_of_the_published_checkpoints() -> None:
    processor = tiny_processor("llava_onevision")
    steps = range(32, 224, 32)
    processor.image_processor.image_grid_pinpoints = [[height, width] for height in steps for width in steps]
    for image in pictures(SIZES):
        assert_equal(processor, [image])


@needs(PHOTOS)
def test_equal_pixels_of_photographs() -> None:
    data = DataConfig(sources=(SourceConfig(path=str(PHOTOS)),))
    samples = [sample for sample in read_all(data)[:12] if isinstance(sample, Sample)]
    assert len(samples) == 12
    images = [decode_all(sample.images, Limits.of(data)) for sample in samples]
    for processor in processors(336)[::2]:
        for image in images:
            assert_equal(processor, image)


@pytest.mark.parametrize(
    ("family", "changed"),
    [
        ("llava", {"do_resize": False}),
        ("llava", {"do_center_crop": False, "size": SizeDict(height=32, width=32)}),
        ("llava", {"size": SizeDict(height=40, width=48)}),
        ("llava", {"size": SizeDict(shortest_edge=24, longest_edge=48)}),
        ("llava", {"size": SizeDict(shortest_edge=20)}),  # smaller than what is cut out of it
        ("llava", {"image_mean": None, "do_pad": True}),
        ("llava_onevision", {"image_grid_pinpoints": [[40, 32], [32, 64]]}),  # tiles of unequal size
        ("llava_onevision", {"do_center_crop": True, "crop_size": SizeDict(height=32, width=32)}),
        ("llava_onevision", {"size": SizeDict(shortest_edge=32)}),
    ],
)
def test_other_settings_are_left_to_the_processor(family: str, changed: dict[str, Any]) -> None:
    processor = tiny_processor(family)
    for name, value in changed.items():
        setattr(processor.image_processor, name, value)
    assert not is_known(processor)
    for image in pictures([(64, 48), (32, 32), (48, 96)]):
        assert_equal(processor, [image])


def test_other_classes_are_left_to_themselves() -> None:
    class Inverted(LlavaImageProcessorPil):  # type: ignore[misc]  # transformers is untyped here
        def resize(self, image: Any, **kwargs: Any) -> Any:
            return 255 - super().resize(image, **kwargs)

    processor = tiny_processor("llava")
    settings: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    for other in (Inverted(**settings), CLIPImageProcessorPil(**settings)):
        processor.image_processor = other
        assert not is_known(processor)
        assert_equal(processor, pictures([(64, 48)]))


def test_settings_may_change_between_samples() -> None:
    processor = tiny_processor("llava_onevision")
    make, images = PixelMaker(processor), pictures([(96, 96)])
    assert len(make(images).images[0]) == 10
    processor.image_processor.image_grid_pinpoints = [[32, 32], [32, 64]]
    assert len(make(images).images[0]) < 10
    assert_equal(processor, images)
