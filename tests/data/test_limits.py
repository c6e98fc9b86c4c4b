"""Limits on what one sample or one file may cost, and files that hold less than they promise."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from cli_ray.data.fields import MAX_JSON_BYTES
from cli_ray.data.images import Limits
from cli_ray.data.readers import Span, tar, webdataset
from cli_ray.data.readers.tables import Parquet
from cli_ray.data.sample import SCHEMA, BadDataError, BadSample, Sample
from cli_ray.storage import files
from cli_ray.storage.files import open_file
from tests.data.hostile.shard import tar_member, tar_of
from tests.data.shards import data_config, read_all, table_rows, tar_members, turns, write_parquet, write_tar


@pytest.mark.parametrize(("size", "kind"), [(MAX_JSON_BYTES, Sample), (MAX_JSON_BYTES + 1, BadSample)])
def test_a_json_record_may_have_eight_mib(tmp_path: Path, size: int, kind: type) -> None:
    text = json.dumps({"messages": turns(images=0)})
    (tmp_path / "x.jsonl").write_text(text[:-1] + " " * (size - len(text)) + "}")
    (sample,) = read_all(data_config(tmp_path))
    assert type(sample) is kind
    if isinstance(sample, BadSample):
        assert "8,388,609 bytes, at most 8,388,608" in sample.detail


@pytest.mark.parametrize(("count", "reason"), [(4096, "missing image"), (4097, "too long")])
def test_a_sample_may_have_so_many_images(tmp_path: Path, count: int, reason: str) -> None:
    record = {"image": ["x.png"] * count, "messages": turns(images=count)}
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    (bad,) = read_all(data_config(tmp_path))
    assert isinstance(bad, BadSample)
    assert bad.reason == reason


def test_more_members_of_one_key_are_samples_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_MEMBERS", 5)
    members = [("many.png", b"")] * 12 + tar_members(1)
    write_tar(tmp_path / "x.tar", members)
    samples = read_all(data_config(tmp_path))
    assert [isinstance(sample, Sample) for sample in samples] == [False, False, False, True]


def test_gaps_after_every_member_are_passed_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = files.chunks

    def counted(file: pa.NativeFile, start: int, end: int, first: int) -> Iterator[bytes]:
        for chunk in original(file, start, end, first):
            read.append(len(chunk))
            yield chunk

    monkeypatch.setattr(tar, "chunks", counted)
    archive = b"".join(tar_member(f"{number}.txt", b"x") + bytes(tarfile.BLOCKSIZE) for number in range(500))
    (tmp_path / "x.tar").write_bytes(archive + tar_of([]))
    with open_file(str(tmp_path / "x.tar")) as file:
        assert len(list(tar.members(file, 0, file.size()))) == 500
    assert sum(read) < 10 * len(archive)


def test_a_cut_arrow_stream_is_read_up_to_the_cut(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "x.arrow"}]}')
    batches = pa.Table.from_pylist(table_rows(6), schema=SCHEMA).to_batches(max_chunksize=2)
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as stream:
        for batch in batches:
            stream.write_batch(batch)
    content = (tmp_path / "x.arrow").read_bytes()
    (tmp_path / "x.arrow").write_bytes(content[: len(content) - 2000])
    *good, bad = read_all(data_config(tmp_path))
    assert [type(sample) for sample in good] == [Sample] * 4
    assert isinstance(bad, BadSample)
    assert (bad.reason, "further" in bad.detail) == ("broken shard", True)


def test_rows_that_a_parquet_file_promises_and_lacks(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", table_rows(2))
    records = list(Parquet().records(str(tmp_path / "x.parquet"), Span(0, 4, 4), Limits(10**6, 10**6)))
    assert [isinstance(record.content, BadDataError) for record in records] == [False, False, True, True]
    assert "row 2 is not there" in str(records[2].content)
