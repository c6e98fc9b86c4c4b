"""Small inputs as users' data look like, where they are at hand (`../shared/cases`): what comes of each."""

from pathlib import Path
from typing import Any

import pytest

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.encoder import Encoder
from cli_ray.data.index import build_index
from cli_ray.data.sample import IGNORED, BadSample, Encoded, Sample
from cli_ray.errors import UserError
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import read_all
from tests.shared import SHARED, needs

CASES = SHARED / "cases" / "data"

pytestmark = needs(CASES)

LLAVA = {"llava_preprocessing": True}
OUTCOMES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "[v1] set": ({}, ["red", "green", "blue"]),
    "alpaca": ({}, ["wrong columns"] * 4),
    "empty_image": ({}, ["red"] * 5),
    "empty_system": ({}, ["red"] * 2),
    "gpt_first": (LLAVA, ["red", "messages", "messages"]),
    "gz_named_tar": ({}, ["broken shard"]),
    "hf_json/x.parquet": ({}, ["It is red.\nReally.", "green", "green"]),
    "hf_json/src.jsonl": ({}, ["It is red.\nReally.", "green", "green"]),
    "image_key": ({}, ["missing image"] * 9),
    "img_tag": ({}, ["image marks"] * 2),
    "mark_in_answer": ({}, ["# Title\n![fig](<image>)\ntext"]),
    "mark_in_text_only": ({}, ["Yes, or <img>."]),
    "mid_end": (LLAVA, ["red", "red Yes.", "Hi. red, green", "Oui \U0001f600 e\u0301 \u200b fin"]),
    "no_mark": (LLAVA, ["red", "green", "blue", "yellow"]),
    "part_image": ({}, ["red", "red", "forbidden path", "broken image"]),
    "part_order": ({}, ["red", "red", "green, red"]),
    "shards/{00000..00001}.tar": ({}, ["red", "green", "blue"] * 2),
    "system_column": ({}, ["rouge"] * 4),
    "tools": ({}, ["messages"]),
    "trailing/array.json": ({}, ["red"] * 2),
    "trailing/columns.json": ({}, ["wrong columns"]),
    "trailing/lines.jsonl": ({}, ["broken record"] * 2),
    "trailing/pretty.jsonl": ({}, ["broken record"] * 26),
    "trailing/utf16.json": ({}, ["broken shard"]),
    "trailing/wrapped.json": ({}, ["wrong columns"]),
    "video": ({}, ["not supported"] * 4),
    "video_ok": ({}, ["not supported"] * 2),
    "wds_dots_txt": ({}, ["wrong columns"]),
    "wds_endings": ({}, ["red", "green", "blue", "yellow", "black", "white"]),
    "wds_endings_txt": ({}, ["red", "green", "blue", "yellow"]),
    "wds_gz": ({}, ["red", "green", "blue"]),
    "wds_mask": ({}, ["red", "green", "blue"]),
    "wds_order": ({}, ["red, green, blue, yellow, black, white, orange, purple, cyan, magenta, gray, brown"]),
    "wds_unsorted": ({}, ["wrong columns"] * 4 + ["missing image"] * 4),
    "wds_unsorted_txt": ({}, ["wrong columns"] * 4 + ["missing image"] * 4),
    "wds_writer": ({}, ["red, green, blue, yellow, black, white, orange, purple, cyan, magenta, gray, brown"]),
}
"""By path: fields of the source, and of each sample what is learnt, or the reason why it is refused."""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """For the tiny LLaVA."""
    return Encoder(tiny_processor("llava"), DataConfig(sources=(SourceConfig(path="unused"),), max_length=4096))


def read(path: str, **fields: Any) -> list[Sample | BadSample]:
    """The samples of a case."""
    return read_all(DataConfig(sources=(SourceConfig(path=str(CASES / path), **fields),)))


@pytest.mark.parametrize("path", OUTCOMES)
def test_what_is_learnt(encoder: Encoder, path: str) -> None:
    fields, expected = OUTCOMES[path]
    rows = list(map(encoder, read(path, **fields)))
    tokenizer = tiny_processor("llava").tokenizer
    learnt = [
        tokenizer.decode(row.labels[row.labels != IGNORED]).replace("</s>", "").strip()
        if isinstance(row, Encoded)
        else row.reason
        for row in rows
    ]
    assert learnt == expected


def pixels(sample: Sample | BadSample, encoder: Encoder) -> list[tuple[int, ...]]:
    """The colour in the middle of each image, as it comes to the model."""
    row = encoder(sample)
    assert isinstance(row, Encoded), row
    return [
        tuple(int(value) // 64 for value in image[0, :, image.shape[2] // 2, image.shape[3] // 2])
        for image in row.images
    ]


def test_images_meet_their_marks(encoder: Encoder) -> None:
    """The colours that the answers name: red, green, blue, yellow, black, white, ..."""
    for path in ("wds_order", "wds_writer"):
        (sample,) = read(path)
        assert pixels(sample, encoder)[:6] == [(3, 0, 0), (0, 2, 0), (0, 0, 3), (3, 3, 0), (0, 0, 0), (3, 3, 3)]
    assert pixels(read("part_order")[2], encoder) == [(0, 2, 0), (3, 0, 0)]
    assert [pixels(sample, encoder) for sample in read("wds_mask")] == [[(3, 0, 0)], [(0, 2, 0)], [(0, 0, 3)]]


@pytest.mark.parametrize(("path", "named"), [("wds_gz", "b.tar.gz"), ("wds_gz", "c.tgz"), ("jsonl_gz", "y.jsonl.gz")])
def test_packed_files_are_named(path: str, named: str) -> None:
    (source,) = build_index(DataConfig(sources=(SourceConfig(path=str(CASES / path)),))).sources
    assert any(named in line and "unpack" in line for line in source.left_out)


def test_nothing_but_packed_files() -> None:
    with pytest.raises(UserError, match=r"b\.tar\.gz\): packed files are not read, unpack them"):
        read("gz_only")


def test_links_that_a_root_allows(tmp_path: Path) -> None:
    """The case's link to another folder, which a copy of it may hold as a file with the link's target."""
    (tmp_path / "coco").symlink_to(CASES / "links" / "mnt" / "coco")
    playground = CASES / "links" / "playground" / "data" / "llava_v1_5_mix665k.json"
    (tmp_path / "x.json").write_bytes(playground.read_bytes())
    path, roots = str(tmp_path / "x.json"), (str(CASES / "links" / "mnt"),)
    bad, _ = read_all(DataConfig(sources=(SourceConfig(path=path),)))
    assert isinstance(bad, BadSample)
    assert "data.sources.image_roots" in bad.detail
    good, _ = read_all(DataConfig(sources=(SourceConfig(path=path, image_roots=roots),)))
    assert isinstance(good, Sample)
