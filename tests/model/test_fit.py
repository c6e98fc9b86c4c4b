"""Processors that lack settings, or contradict the model's config."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AddedToken

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.build import load_processor
from cli_ray.model.tiny import build_tiny, tiny_processor
from tests.model.batches import batch


def saved(folder: Path, family: str, processor: Any, **changes: Any) -> ModelConfig:
    """A folder with processor and config, the latter changed."""
    processor.save_pretrained(folder)
    build_tiny(family).config.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return ModelConfig(family=family, checkpoint=str(folder), pad_to_square=False)


def without(folder: Path, *names: str) -> None:
    """Takes settings out of the saved processor."""
    path = folder / "processor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in values.items() if key not in names}))


def test_what_the_config_says_is_filled_in(family: str, tmp_path: Path) -> None:
    complete = tiny_processor(family)
    model = saved(tmp_path, family, complete)
    without(
        tmp_path,
        *("patch_size", "num_additional_image_tokens", "vision_feature_select_strategy"),
        *("num_image_tokens", "vision_aspect_ratio"),
    )
    found, expected = batch(load_processor(model), [1, 2]), batch(complete, [1, 2])
    assert found["input_ids"].tolist() == expected["input_ids"].tolist()


def test_counts_of_an_older_release_are_put_right(tmp_path: Path) -> None:
    complete = tiny_processor("llava")
    model = saved(tmp_path, "llava", complete)
    path = tmp_path / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_additional_image_tokens": 0}))
    assert batch(load_processor(model), [1])["input_ids"].shape == batch(complete, [1])["input_ids"].shape


def test_another_image_size_than_the_towers_is_refused(family: str, tmp_path: Path) -> None:
    processor = tiny_processor(family)
    square = {"height": 40, "width": 40}
    setattr(processor.image_processor, "crop_size" if family == "llava" else "size", square)
    model = saved(tmp_path, family, processor)
    with pytest.raises(UserError, match=r"= {'height': 40, 'width': 40} .* images of 32 x 32 \(vision_config"):
        load_processor(model)


def test_other_tiles_than_the_models_are_refused(tmp_path: Path) -> None:
    model = saved(tmp_path, "llava_onevision", tiny_processor("llava_onevision"), image_grid_pinpoints=[[32, 64]])
    with pytest.raises(UserError, match=r"image_grid_pinpoints .* 9 resolutions .* config.json \(1\)"):
        load_processor(model)


def test_another_image_token_is_refused(family: str, tmp_path: Path) -> None:
    model = saved(tmp_path, family, tiny_processor(family), image_token_index=2)
    with pytest.raises(UserError, match=r"'<image>' is token 3 .* image_token_index = 2 .* is '<pad>': set it to 3"):
        load_processor(model)


def test_tokens_beyond_the_embeddings_are_named(family: str, tmp_path: Path) -> None:
    processor = tiny_processor(family)
    first = len(processor.tokenizer)
    processor.tokenizer.add_tokens([AddedToken(f"<loc{i}>") for i in range(7)], special_tokens=False)
    model = saved(tmp_path, family, processor)
    with pytest.raises(UserError, match=rf"7 tokens beyond .*'<loc0>' \({first}\), .* and 2 more"):
        load_processor(model)
