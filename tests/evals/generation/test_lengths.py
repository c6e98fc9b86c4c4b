"""Estimates of prompt lengths equal what the processors make."""

import random

import pytest
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.evals.generation.lengths import image_tokens, text_tokens


def test_images_count_as_in_the_processor(plain_model: PreTrainedModel, processor: ProcessorMixin) -> None:
    from PIL import Image

    count = image_tokens(plain_model.config.to_dict())
    draw = random.Random(0)
    for _ in range(60):
        size = draw.randint(8, 200), draw.randint(8, 200)
        text = processor.image_token
        tokens = processor(images=[[Image.new("RGB", size)]], text=[text], return_tensors="pt")["input_ids"]
        assert count([size]) == int((tokens == plain_model.config.image_token_id).sum()), size


@pytest.mark.parametrize("images", [2, 3])
def test_several_images_count_as_in_the_processor(
    plain_model: PreTrainedModel, processor: ProcessorMixin, images: int
) -> None:
    from PIL import Image

    sizes = [(90, 50), (20, 70), (33, 33)][:images]
    given = [[Image.new("RGB", size) for size in sizes]]
    tokens = processor(images=given, text=[processor.image_token * images], return_tensors="pt")["input_ids"]
    counted = image_tokens(plain_model.config.to_dict())(sizes)
    assert counted == int((tokens == plain_model.config.image_token_id).sum())


def test_published_onevision_counts() -> None:
    grid = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
    config = {
        "model_type": "llava_onevision",
        "vision_config": {"image_size": 384, "patch_size": 14},
        "image_grid_pinpoints": grid,
        "vision_aspect_ratio": "anyres_max_9",
    }
    count = image_tokens(config)
    assert [count([size]) for size in [(336, 336), (640, 480), (1920, 1080), (2304, 2304)]] == [1485, 2929, 7269, 7371]
    assert count([(640, 480)] * 3) == 3 * 730
    assert count([]) == 0


def test_text_is_estimated_on_the_long_side() -> None:
    assert text_tokens(0) < text_tokens(300)
    assert text_tokens(300) >= 100
