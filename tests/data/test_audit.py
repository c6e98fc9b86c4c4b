"""What `data check` counts."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_ray.config import DataConfig
from cli_ray.data.audit import MAX_NAMES, Distribution, SourceAudit, audit, judge
from cli_ray.data.encoder import Encoder
from cli_ray.data.images import Limits
from cli_ray.data.index import build_index
from cli_ray.data.reading import read_here
from cli_ray.data.sample import BadSample, Unread
from cli_ray.data.stream import Stream
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import (
    data_config,
    json_source,
    picture,
    table_rows,
    talk,
    tar_members,
    turns,
    write_parquet,
    write_tar,
)


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    """A tar of ten pictures, five of them broken, and a Parquet file with and without pictures."""
    members = tar_members(10)
    for n in range(5):
        members[2 * n] = (members[2 * n][0], b"no image")
    write_tar(tmp_path / "x.tar", members)
    rows = table_rows(4)
    rows[0] |= {"images": [], "messages": turns(0, images=0)}
    rows[1] |= {"images": [picture(1, 100, 20), picture(2, 8, 8)], "messages": turns(1, images=2)}
    write_parquet(tmp_path / "y.parquet", rows)
    return data_config(tmp_path / "x.tar", tmp_path / "y.parquet")


def result(data: DataConfig, encoder: Encoder | None = None, limit: int | None = None) -> dict[str, SourceAudit]:
    """The audit of all sources."""
    return dict(audit(build_index(data), Limits.of(data), encoder, limit))


def test_counts_without_a_model(data: DataConfig) -> None:
    tar, table = result(data).values()
    assert (tar.samples, tar.with_images, tar.turns, tar.reasons) == (10, 5, 5, {"broken image": 5})
    assert [sample.id for sample in tar.examples["broken image"]] == ["x.tar#0:00000", "x.tar#1:00001", "x.tar#2:00002"]
    assert (table.samples, table.with_images, table.images, table.reasons) == (4, 3, 4, {})
    assert (table.width.smallest, table.width.largest, table.height.smallest) == (8, 100, 8)
    assert table.length.smallest == len("What is it?Number 0. ")


def test_counts_with_a_model(data: DataConfig) -> None:
    encoder = Encoder(tiny_processor("llava"), data.model_copy(update={"max_length": 70}))
    tar, table = result(data, encoder).values()
    assert tar.reasons["broken image"] == 5
    assert tar.reasons["too long"] > 0
    assert table.supervised > 0
    assert table.length.largest is not None
    assert table.length.largest <= 70


def test_what_was_not_read_is_listed(tmp_path: Path) -> None:
    """Fields, columns, members and files; images beside JSON files are what their records name."""
    write_tar(tmp_path / "x.tar", [*tar_members(2), ("00001.cls", b"1")])
    for name in ("y.tar.gz", "z.tgz", "notes.md"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "json").mkdir()
    for name in ("x.jsonl.gz", "x.zip", "1.jpg"):
        (tmp_path / "json" / name).write_bytes(b"x")
    json_source(tmp_path / "json", talk(width=3), talk(width=4, tools=1), talk(answer="<image>"))
    of_tar, of_json = result(data_config(tmp_path / "x.tar", tmp_path / "json")).values()
    assert of_tar.notes() == ["not read: member .cls, in 1 samples"]
    assert of_json.notes() == [
        "not read: field width, in 2 samples",
        "not read: field tools, in 1 samples",
        "not read: 1 .gz (x.jsonl.gz): packed files are not read, unpack them",
        "not read: 1 .zip (x.zip): packed files are not read, unpack them",
        "<image> without an image is text, in 1 samples",
    ]
    assert json.dumps(of_json.to_dict())
    (of_folder,) = result(data_config(tmp_path / "*.*")).values()
    assert of_folder.notes() == [
        "not read: member .cls, in 1 samples",
        "not read: 1 .gz (y.tar.gz): packed files are not read, unpack them",
        "not read: 1 .md (notes.md)",
        "not read: 1 .tgz (z.tgz): packed files are not read, unpack them",
    ]


def test_names_without_end_are_not_kept() -> None:
    found = SourceAudit("messages", 1, 1.0)
    for n in range(3 * MAX_NAMES):
        found.add_unread(BadSample(f"{n}", "s", "x", "messages", "", unread=(Unread("field", str(n)),)))
    assert len(found.unread) == MAX_NAMES


def test_the_stream_leaves_out_what_the_audit_says(data: DataConfig, tmp_path: Path) -> None:
    """The same ids, reasons and numbers of samples; a lost shard and a too long sample among them."""
    (tmp_path / "z").mkdir()
    write_tar(tmp_path / "z" / "a.tar", tar_members(10))
    (tmp_path / "z" / "b.tar").write_bytes(b"")
    more = data.model_copy(
        update={"max_length": 70, "sources": (*data.sources, data_config(tmp_path / "z").sources[0])}
    )
    named = [source.model_copy(update={"name": f"s{i}"}) for i, source in enumerate(more.sources)]
    more = more.model_copy(update={"sources": tuple(named)})
    index, encoder = build_index(more), Encoder(tiny_processor("llava"), more)
    stream = Stream(
        index,
        more,
        encoder,
        seed=0,
        lanes=1,
        rank=0,
        world_size=1,
        micro_batch_size=2,
        global_batch_size=4,
        read=partial(read_here, sources=index.sources, encoder=encoder),
    )
    bad = [sample for share in stream.iterate(0) for sample in share.bad]
    results = list(result(more, encoder).values())
    assert sum((found.reasons for found in results), Counter()) == sum(
        (Counter({sample.reason: sample.samples}) for sample in bad), Counter()
    )
    verdict = judge(results, more)
    assert verdict.bad == sum(sample.samples for sample in bad)
    assert verdict.samples == stream.samples_per_epoch
    assert {sample.reason for sample in bad} == {"broken image", "too long", "broken shard"}


def test_limit(data: DataConfig) -> None:
    assert [found.samples for found in result(data, limit=3).values()] == [3, 3]


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_distributions_are_small_and_close(numbers: list[int]) -> None:
    found = Distribution()
    for number in numbers:
        found.add(number)
    assert len(found.counts) <= 32 * 16
    assert (found.smallest, found.largest) == (min(numbers), max(numbers))
    middle, exact = found.quantile(0.5), sorted(numbers)[(len(numbers) - 1) // 2]
    assert middle is not None
    assert abs(middle - exact) <= exact / 16
    assert sum(count for _, _, count in found.octaves()) == len(numbers)
    for number in numbers:
        assert any(low <= number < high and count for low, high, count in found.octaves())
