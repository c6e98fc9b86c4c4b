"""Images keep within a budget in training, and in what is exported as in training."""

import io
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, ProcessorMixin

from cli_ray.config import ModelConfig, RunConfig, TrainConfig
from cli_ray.config.data import DataConfig
from cli_ray.config.load import ConfigError, validated
from cli_ray.data.collate import collate, normalize
from cli_ray.data.encoder import Encoder
from cli_ray.data.reading import from_table, to_table
from cli_ray.data.sample import BadSample, Encoded, Message, Sample
from cli_ray.data.share import Cut, Share
from cli_ray.errors import UserError
from cli_ray.evals.generation.lengths import image_tokens
from cli_ray.model.attach import attach
from cli_ray.model.build import load_processor
from cli_ray.model.families import family_named
from cli_ray.model.tiny import build_tiny, tiny_processor, tiny_tokenizer
from cli_ray.train.rehearsal import longest_batch
from tests.data.shards import data_config, picture, read_all
from tests.model.batches import injection
from tests.shared import SHARED, needs

ONEVISION = "llava_onevision"
PHOTOS = SHARED / "data/photos"
SIZES = [(96, 96), (200, 90), (33, 250), (300, 31), (64, 64), (10, 9), (97, 65), (700, 500)]
"""Width and height; a tile has 32 pixels, and an image up to 3 x 3 of them."""


def sample(pictures: list[bytes], answer: str = "A cat.") -> Sample:
    """A question about some images."""
    messages = [Message("user", f"{'<image>' * len(pictures)}\nWhat is it?"), Message("assistant", answer)]
    return Sample("x#0", pictures, messages, "s", "x, row 0")


def encode(processor: ProcessorMixin, one: Sample, **fields: Any) -> Encoded:
    """The encoded sample."""
    row = Encoder(processor, data_config("unused", **fields))(one)
    assert isinstance(row, Encoded), row
    return row


def restricted(tiles: int) -> ProcessorMixin:
    """The family's own processor with the canvases of at most so many tiles."""
    processor = tiny_processor(ONEVISION)
    every = processor.image_processor.image_grid_pinpoints
    processor.image_processor.image_grid_pinpoints = _of_at_most(tiles, every)
    return processor


def _of_at_most(tiles: int, canvases: list[list[int]]) -> list[list[int]]:
    return [[height, width] for height, width in canvases if height * width <= tiles * 32**2]


def inputs_of(processor: ProcessorMixin, rows: list[Encoded]) -> dict[str, torch.Tensor]:
    """What the model is given in training."""
    batch = collate(rows, processor.tokenizer.pad_token_id, tiled=True)
    images = processor.image_processor
    pixels = normalize(batch.inputs["pixel_values"], images.image_mean, images.image_std, torch.float32)
    return batch.inputs | {"pixel_values": pixels}


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_processor_with_fewer_canvases(size: tuple[int, int], tiles: int) -> None:
    """Ids and pixels; and the model with all its canvases gives what one with only those gives."""
    processor, one = tiny_processor(ONEVISION), sample([picture(0, *size)])
    ours = inputs_of(processor, [encode(processor, one, max_tiles=tiles)])
    theirs = inputs_of(processor, [encode(restricted(tiles), one, shrink_images=False)])
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
    full, few = build_tiny(ONEVISION), build_tiny(ONEVISION)
    few.config.image_grid_pinpoints = _of_at_most(tiles, few.config.image_grid_pinpoints)
    with torch.no_grad():
        assert torch.equal(full(**ours).logits, few(**theirs).logits)


def test_the_text_decides_how_much_room_an_image_has() -> None:
    """An image shrinks tile by tile as the text grows, and only what fits on no tile is refused."""
    processor, one = tiny_processor(ONEVISION), sample([picture(0, 96, 96)])
    whole, least = (len(encode(processor, one, **fields).input_ids) for fields in ({}, {"max_tiles": 1}))
    assert (whole - least, encode(processor, one).shrunk) == (172 - 36, None)
    counts = []
    for length in range(least, whole + 1):
        row = encode(processor, one, max_length=length)
        assert len(row.input_ids) <= length
        counts.append(len(row.images[0]) - 1)
    assert counts == sorted(counts)
    assert set(counts) == {1, 4, 9}  # a square is no larger on 2 or 6 tiles
    bad = Encoder(processor, data_config("unused", max_length=least - 1))(one)
    assert isinstance(bad, BadSample)
    assert (bad.reason, bad.detail) == ("too long", f"{least} tokens (36 of images), data.max_length = {least - 1}")


def test_a_limit_holds_whatever_the_text() -> None:
    processor, pictures = tiny_processor(ONEVISION), [picture(0, 96, 96)]
    row = encode(processor, sample(pictures), max_image_tokens=100)
    assert row.shrunk == ((96, 96), 172, 88)
    assert (row.input_ids == processor.image_token_id).sum() == 88
    assert encode(processor, sample(pictures * 3), max_image_tokens=36).shrunk is None


def test_several_images_take_a_tile_each_and_are_not_shrunk() -> None:
    processor, pictures = tiny_processor(ONEVISION), [picture(0, 96, 96), picture(1, 50, 90)]
    length = len(encode(processor, sample(pictures)).input_ids)
    assert encode(processor, sample(pictures), max_length=length).shrunk is None
    assert isinstance(Encoder(processor, data_config("unused", max_length=length - 1))(sample(pictures)), BadSample)


@pytest.mark.parametrize("fields", [{"max_tiles": 2}, {"max_image_tokens": 60}, {"max_length": 512}, {}])
def test_an_exported_processor_makes_what_training_made(tmp_path: Path, fields: dict[str, int]) -> None:
    """Loaded by transformers, for a batch of samples with one image, with several and with none."""
    model = ModelConfig(checkpoint="tiny", family=ONEVISION)
    processor, data = load_processor(model), data_config("unused", **fields)
    processor.limit_images(data)
    processor.save_pretrained(tmp_path)
    attach(build_tiny(ONEVISION), injection()).config.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert (loaded.max_tiles, loaded.max_image_tokens) == (
        fields.get("max_tiles"),
        fields.get("max_image_tokens", fields.get("max_length", 4096)),
    )
    pictures = [[picture(i, *size)] for i, size in enumerate(SIZES)]
    pictures += [[picture(20, 96, 96), picture(21, 50, 90)], []]
    encoder = Encoder(loaded, data)
    samples = [sample(images, "") for images in pictures]
    texts = [encoder._template.render(one.messages).text for one in samples]
    given = [[Image.open(io.BytesIO(image)) for image in images] for images in pictures if images]
    own = loaded(images=given, text=texts, padding=True, padding_side="right", return_tensors="pt")
    rows = [row for row in map(encoder, samples) if isinstance(row, Encoded)]
    assert len(rows) == len(samples)
    trained = inputs_of(loaded, rows)
    for name in ("input_ids", "image_sizes"):
        assert torch.equal(own[name], trained[name])
    assert own["batch_num_images"].tolist() == [len(images) for images in pictures if images]
    tiles = [len(image) for row in rows for image in row.images]
    for found, expected, count in zip(own["pixel_values"], trained["pixel_values"], tiles, strict=True):
        torch.testing.assert_close(found[:count], expected[:count], atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", ["image", "images", "nested", "arrays"])
def test_a_processor_takes_images_in_all_forms(form: str) -> None:
    """One image a text, as those of transformers do."""
    processor = tiny_processor(ONEVISION)
    processor.limit_images(data_config("unused", max_tiles=2))
    image = Image.open(io.BytesIO(picture(0, 120, 60)))
    given: Any = {
        "image": image,
        "images": [image, image],
        "nested": [[image], [image]],
        "arrays": [np.asarray(image), np.asarray(image).transpose(2, 0, 1)],
    }[form]
    texts = ["<image>"] * (1 if form == "image" else 2)
    found = processor(images=given, text=texts, return_tensors="pt")
    assert found["input_ids"].shape == (len(texts), 52)
    assert found["pixel_values"].shape == (len(texts), 3, 3, 32, 32)
    assert found["image_sizes"].tolist() == [[32, 64]] * len(texts)


def test_a_processor_without_a_budget_is_that_of_transformers(processor: ProcessorMixin) -> None:
    given = [[Image.open(io.BytesIO(picture(0, 96, 96)))]]
    (ids,) = processor(images=given, text=["<image>"])["input_ids"]
    assert ids.count(processor.image_token_id) == (172 if hasattr(processor, "max_tiles") else 16)


@pytest.mark.parametrize("budget", [{}, {"max_tiles": 2}, {"max_image_tokens": 60}])
def test_estimates_of_evaluation_know_the_budget(budget: dict[str, int]) -> None:
    processor, config = tiny_processor(ONEVISION), build_tiny(ONEVISION).config.to_dict()
    processor.limit_images(data_config("unused", **budget))
    count = image_tokens(config, processor.to_dict())
    for size in SIZES:
        ids = processor(images=[[Image.new("RGB", size)]], text=["<image>"])["input_ids"]
        assert count([size]) == len(ids[0])


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("llava", {"max_tiles": 4}, r"data\.max_tiles = 4, but LLaVA-1\.5 .* cuts no tiles"),
        ("llava", {"max_image_tokens": 15}, r"data\.max_image_tokens = 15, but LLaVA-1\.5 takes 16 tokens for every"),
        (ONEVISION, {"max_image_tokens": 35}, r"data\.max_image_tokens = 35, .* takes up to 36 tokens"),
    ],
)
def test_a_budget_that_no_image_keeps_is_refused(family: str, fields: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Encoder(tiny_processor(family), data_config("unused", **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tiles": 0}, "max_tiles: must be greater than or equal to 1"),
        ({"max_image_tokens": -5}, "max_image_tokens: must be greater than or equal to 1"),
        ({"max_tiles": 2, "max_image_tokens": 2000}, "max_tiles = 2 and max_image_tokens = 2000 .* drop one"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(DataConfig, {"sources": [{"path": "x"}], **fields}, "run.toml")


def test_a_run_counts_the_images_that_its_budget_shrinks() -> None:
    large = encode(tiny_processor(ONEVISION), sample([picture(0, 120, 120)]), max_tiles=2)
    small = encode(tiny_processor(ONEVISION), sample([picture(0, 30, 30)]), max_tiles=2)
    rows = list(from_table(to_table([large, small, large])))
    assert [row.shrunk for row in rows if isinstance(row, Encoded)] == [large.shrunk, None, large.shrunk]
    assert Share([Cut(rows[:2], (0, 0)), Cut(rows[2:], (0, 1))]).num_shrunk == 2


def test_more_tokens_than_an_image_takes_are_no_fault_in_llava() -> None:
    assert encode(tiny_processor("llava"), sample([picture()]), max_image_tokens=16).shrunk is None


@needs(PHOTOS)
@pytest.mark.parametrize("family", ["llava", ONEVISION])
def test_defaults_quarantine_no_photograph_for_its_length(family: str) -> None:
    """With images of the published sizes and the defaults of `data`."""
    kind = family_named(family)
    vision = SimpleNamespace(image_size=336 if family == "llava" else 384, patch_size=14)
    processor = kind.new_processor(tiny_tokenizer(family), vision, kind.chat_template)
    data = DataConfig.model_validate({"sources": [{"path": str(PHOTOS / "photos-00000.tar")}]})
    encoder = Encoder(processor, data)
    rows = list(map(encoder, read_all(data)))
    assert [row for row in rows if not isinstance(row, Encoded)] == []
    assert len(rows) == 64
    shrunk = [row.shrunk for row in rows if isinstance(row, Encoded) and row.shrunk]
    assert shrunk == ([] if family == "llava" else [((768, 1024), 4725, 2929)])


@pytest.mark.parametrize("fields", [{}, {"max_tiles": 4}, {"max_image_tokens": 100}, {"max_length": 128}])
@pytest.mark.parametrize("shrink", [True, False])
def test_the_longest_batch_has_the_image_of_most_tiles(fields: dict[str, int], shrink: bool) -> None:
    data = data_config("unused", **{"max_length": 400, "shrink_images": shrink} | fields)
    model, train = ModelConfig(checkpoint="tiny", family=ONEVISION), TrainConfig(micro_batch_size=2, packing=False)
    encoder = Encoder(tiny_processor(ONEVISION), data)
    batch = longest_batch(encoder, RunConfig(name="x", model=model, data=data, train=train))
    assert batch.inputs["input_ids"].shape == (2, encoder.max_length)
    sizes = product(range(8, 130, 16), range(9, 130, 15))
    rows = [encoder(sample([picture(0, *size)], "")) for size in sizes]
    most = max(len(row.images[0]) for row in rows if isinstance(row, Encoded))
    assert batch.inputs["pixel_values"].shape[1] == most
