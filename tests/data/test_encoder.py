"""The encoder gives what the processor gives, and supervises what the assistant says."""

import copy
import io
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from ray import cloudpickle
from transformers import PreTrainedModel, ProcessorMixin

from cli_ray.data.collate import collate, normalize
from cli_ray.data.encoder import Encoder
from cli_ray.data.reading import from_table, to_table
from cli_ray.data.sample import IGNORED, BadSample, Encoded, Message, Row, Sample
from tests.data.shards import data_config, picture

DATA = data_config("unused")
READER = """
import sys
from ray import cloudpickle
from cli_ray.data.reading import to_table
from cli_ray.packages import without
with open(sys.argv[1], "rb") as file, without("torch"):
    encoder, samples = cloudpickle.load(file)
with open(sys.argv[2], "wb") as file:
    cloudpickle.dump(to_table([encoder(sample) for sample in samples]), file)
assert "torch" not in sys.modules
"""
SIZES = [[], [(40, 30)], [(90, 31)], [(31, 90)], [(64, 64), (20, 50)], [(10, 9), (33, 32), (120, 40)]]


def sample(pictures: list[bytes], answer: str = "A cat, perhaps.") -> Sample:
    """Two turns about some images, the last image in the second question."""
    first, last = "<image>\n" * (len(pictures) - 1), "<image>" * bool(pictures)
    messages = [Message("user", f"{first}What is it?"), Message("assistant", answer)]
    messages += [Message("user", f"Sure? {last}\u00e9"), Message("assistant", "Yes \u732b.")]
    return Sample("x#0", pictures, messages, "s", "x, row 0")


def encode(processor: ProcessorMixin, one: Sample, **fields: Any) -> Encoded:
    """The encoded sample."""
    row = Encoder(processor, data_config("unused", **fields))(one)
    assert isinstance(row, Encoded), row
    return row


def refused(processor: ProcessorMixin, one: Sample, **fields: Any) -> BadSample:
    """Why the sample cannot be used."""
    row = Encoder(processor, data_config("unused", **fields))(one)
    assert isinstance(row, BadSample)
    return row


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_the_processor(processor: ProcessorMixin, sizes: list[tuple[int, int]]) -> None:
    """Ids exactly; pixels once they are normalised on the device."""
    pictures = [picture(i, *size) for i, size in enumerate(sizes)]
    encoder = Encoder(processor, DATA)
    one = sample(pictures)
    row = encoder(one)
    assert isinstance(row, Encoded)
    text = encoder._template.render(one.messages).text
    images = [Image.open(io.BytesIO(encoded)) for encoded in pictures]
    nested: Any = [images] if encoder.tiled else images
    own = processor(text=text, images=nested if sizes else None, return_tensors="pt")
    batch = collate([row], encoder.pad_token_id, encoder.tiled)
    assert batch.inputs.keys() == own.keys() - {"mm_token_type_ids"}
    assert torch.equal(batch.inputs["input_ids"], own["input_ids"])
    if sizes:
        mean, std = processor.image_processor.image_mean, processor.image_processor.image_std
        pixels = normalize(batch.inputs["pixel_values"], mean, std, torch.float32)
        torch.testing.assert_close(pixels, own["pixel_values"], atol=1e-6, rtol=0)
    for name in own.keys() & {"image_sizes", "batch_num_images"}:
        assert torch.equal(batch.inputs[name], torch.as_tensor(own[name]))


def test_only_the_assistant_is_supervised(processor: ProcessorMixin) -> None:
    row = encode(processor, sample([picture()]))
    learnt = row.labels != IGNORED
    assert np.array_equal(row.labels[learnt], row.input_ids[learnt])
    runs = np.split(np.arange(len(learnt)), np.flatnonzero(np.diff(learnt)) + 1)
    texts = [processor.tokenizer.decode(row.input_ids[run]) for run in runs if learnt[run[0]]]
    end = processor.tokenizer.eos_token
    assert [text.strip() for text in texts] == [f"A cat, perhaps.{end}", f"Yes \u732b.{end}"]


def test_spaces_and_blank_lines_within_an_answer_are_supervised(processor: ProcessorMixin) -> None:
    answer = "def f():\n\n        return   1\n    # done"
    row = encode(processor, sample([], answer))
    assert answer in processor.tokenizer.decode(row.labels[row.labels != IGNORED])


def test_several_images_take_one_tile_each() -> None:
    from cli_ray.model.tiny import tiny_processor

    processor = tiny_processor("llava_onevision")
    alone = encode(processor, sample([picture(0, 90, 30)]))
    together = encode(processor, sample([picture(0, 90, 30), picture(1)]))
    assert len(alone.images[0]) > 1
    assert [len(image) for image in together.images] == [1, 1]


def test_too_long_is_refused_and_never_cut(processor: ProcessorMixin) -> None:
    length = len(encode(processor, sample([picture()])).input_ids)
    assert len(encode(processor, sample([picture()]), max_length=length).input_ids) == length
    bad = refused(processor, sample([picture()]), max_length=length - 1, shrink_images=False)
    assert (bad.id, bad.source, bad.where, bad.reason) == ("x#0", "s", "x, row 0", "too long")
    assert f"{length} tokens" in bad.detail
    assert refused(processor, sample([], "y" * 10**6), max_length=16).detail.startswith("1,000,")


def test_image_tokens_written_as_text_are_counted(processor: ProcessorMixin) -> None:
    one = Sample("x#0", [], [Message("user", "<image>"), Message("assistant", "?")], "s", "x")
    bad = refused(processor, one)
    assert (bad.reason, bad.detail) == ("image marks", "1 image tokens in the text for 0 images")


def test_rows_pass_through_arrow(processor: ProcessorMixin) -> None:
    """Whole, in part and in several chunks; what comes out are views."""
    encoder = copy.deepcopy(Encoder(processor, DATA))
    hole = BadSample("h", "s", "there", "too long", "very", samples=3)
    rows = [encoder(sample([])), hole, encoder(sample([picture(0, 90, 40)])), encoder(sample([picture(), picture(1)]))]
    table = to_table(rows)
    assert_same_rows(rows, from_table(table))
    assert_same_rows(rows[1:3], from_table(table.slice(1, 2)))
    assert_same_rows(rows + rows, from_table(pa.concat_tables([table, table])))
    assert_same_rows([hole], from_table(to_table([hole])))
    assert_same_rows([], from_table(to_table([])))
    last = list(from_table(table))[-1]
    assert isinstance(last, Encoded)
    assert not any(pixels.flags.owndata for pixels in last.images)


def assert_same_rows(expected: Sequence[Row], found: Iterable[Row]) -> None:
    """Every field of each."""
    for before, after in zip(expected, found, strict=True):
        if isinstance(before, BadSample):
            assert after == before
            continue
        assert isinstance(after, Encoded)
        assert (after.id, after.source, after.shrunk) == (before.id, before.source, before.shrunk)
        for name in ("input_ids", "labels", "turns", "sizes"):
            assert np.array_equal(getattr(after, name), getattr(before, name))
            assert getattr(after, name).dtype == np.int32
        assert all(np.array_equal(a, b) for a, b in zip(after.images, before.images, strict=True))
        assert all(image.dtype == np.uint8 for image in after.images)


def test_a_process_that_reads_encodes_the_same_without_torch(processor: ProcessorMixin, tmp_path: Path) -> None:
    encoder = Encoder(processor, DATA)
    assert not encoder.needs_torch
    samples = [sample([picture(i, *size) for i, size in enumerate(sizes)]) for sizes in SIZES]
    sent, returned = tmp_path / "sent", tmp_path / "returned"
    sent.write_bytes(cloudpickle.dumps((encoder, samples)))
    subprocess.run([sys.executable, "-c", READER, sent, returned], check=True)
    assert cloudpickle.loads(returned.read_bytes()) == to_table(list(map(Encoder(processor, DATA), samples)))


def test_an_encoder_with_an_image_processor_of_another_class_needs_torch(processor: ProcessorMixin) -> None:
    other = copy.copy(processor)
    other.image_processor = copy.copy(processor.image_processor)
    other.image_processor.__class__ = type("Other", (type(processor.image_processor),), {})
    assert Encoder(other, DATA).needs_torch


def test_the_model_takes_the_batch(processor: ProcessorMixin, plain_model: PreTrainedModel) -> None:
    """Samples without, with one and with several images together; the model itself counts image tokens."""
    encoder = Encoder(processor, DATA)
    found = [encoder(sample([picture(i, *size) for i, size in enumerate(sizes)])) for sizes in SIZES]
    rows = [row for row in found if isinstance(row, Encoded)]
    batch = collate(rows, encoder.pad_token_id, encoder.tiled)
    mean, std = processor.image_processor.image_mean, processor.image_processor.image_std
    pixels = normalize(batch.inputs["pixel_values"], mean, std, torch.float32)
    with torch.no_grad():
        logits = plain_model(**{**batch.inputs, "pixel_values": pixels}).logits
    assert logits.shape[:2] == batch.labels.shape
    assert logits.isfinite().all()
