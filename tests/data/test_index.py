"""The index survives being stored, and refuses data that changed."""

import json
from pathlib import Path

import pytest

from cli_ray.config import DataConfig, SourceConfig
from cli_ray.data.images import Limits
from cli_ray.data.index import Index, build_index
from cli_ray.errors import UserError
from tests.data.shards import data_config, read_unit, table_rows, tar_members, write_parquet, write_tar


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    """A tar source of two shards and a Parquet source, one shard of them broken."""
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "a.tar", tar_members(5))
    write_tar(tmp_path / "tars" / "b.tar", tar_members(3))
    write_parquet(tmp_path / "rows.parquet", table_rows(6))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1?")
    return data_config(tmp_path / "tars", tmp_path / "*.parquet")


def test_counts_and_units(data: DataConfig) -> None:
    index = build_index(data)
    assert index.columns["count"].tolist() == [4, 1, 3, 1, 4, 2]
    assert index.columns["first"].tolist() == [0, 4, 0, 0, 0, 4]
    assert index.num_samples == 15
    assert index.unit(3).span.broken.startswith("no Parquet file")


def test_round_trip(data: DataConfig) -> None:
    index = build_index(data)
    again = Index.from_json(index.to_json())
    again.check_unchanged(data)
    limits = Limits.of(data)
    assert [again.unit(i) for i in range(len(again))] == [index.unit(i) for i in range(len(index))]
    assert read_unit(again, 2, limits) == read_unit(index, 2, limits)


def test_an_index_of_another_version_is_refused(data: DataConfig) -> None:
    fields = json.loads(build_index(data).to_json())
    del fields["damages"]
    with pytest.raises(UserError, match=r"written by a version of cli-ray with other rules.*start a new run"):
        Index.from_json(json.dumps(fields | {"broken": {}}))


def test_changed_data_is_refused(data: DataConfig, tmp_path: Path) -> None:
    index = build_index(data)
    write_tar(tmp_path / "tars" / "b.tar", tar_members(4))
    (tmp_path / "tars" / "a.tar").rename(tmp_path / "tars" / "c.tar")
    with pytest.raises(UserError) as caught:
        index.check_unchanged(data)
    lines = [line.rsplit("/", 1)[-1] for line in str(caught.value).splitlines()[1:]]
    assert lines == ["a.tar is gone", "b.tar was changed", "c.tar is new"]


def test_changed_fields_are_refused(data: DataConfig) -> None:
    index = build_index(data)
    with pytest.raises(UserError, match="unit_samples = 2"):
        index.check_unchanged(data.model_copy(update={"unit_samples": 2}))
    other = data.sources[0].model_copy(update={"prompt": "Why?"})
    with pytest.raises(UserError, match=r"prompt is 'Why\?'"):
        index.check_unchanged(data.model_copy(update={"sources": (other, data.sources[1])}))
    with pytest.raises(UserError, match="1 sources, there were 2"):
        index.check_unchanged(data.model_copy(update={"sources": data.sources[:1]}))


def test_a_shard_that_shrank_while_reading_is_an_error(data: DataConfig, tmp_path: Path) -> None:
    index = build_index(data)
    write_tar(tmp_path / "tars" / "a.tar", tar_members(1))
    with pytest.raises(UserError, match="holds 1 samples where the index has 4"):
        read_unit(index, 0, Limits.of(data))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["x.tar", "y.parquet"], "several formats"),
        (["x.zip"], "no file with a known ending"),
        (["x.arrow"], r"no state\.json"),
        ([], "no such file"),
    ],
)
def test_formats_that_cannot_be_told(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"?")
    with pytest.raises(UserError, match=message):
        build_index(data_config(tmp_path))


def test_a_format_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"?")
    with pytest.raises(UserError, match=r"ends in \.tar"):
        build_index(DataConfig(sources=(SourceConfig(path=str(tmp_path), format="webdataset"),)))


def test_no_sample_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(UserError, match="no sample in"):
        build_index(data_config(tmp_path))


@pytest.mark.parametrize(
    "state",
    [
        "[]",
        '{"_data_files": 3}',
        '{"_data_files": [{"filename": "../x.arrow"}]}',
        '{"_data_files": [{"filename": "."}]}',
        '{"_data_files": [{}]}',
        "?",
    ],
)
def test_a_datasets_folder_with_a_wrong_state(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(UserError, match="not the state of a Hugging Face dataset"):
        build_index(data_config(tmp_path))


def test_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    """By training too, which would otherwise learn a part of the data without a word."""
    write_tar(tmp_path / "a.tar", tar_members(1))
    for name in ("b.tar.gz", "c.tar.gz", "_hidden.tar"):
        (tmp_path / name).write_bytes(b"")
    index = build_index(data_config(tmp_path))
    assert index.left_out() == ["s0: not read: 2 .gz (b.tar.gz, c.tar.gz): packed files are not read, unpack them"]
    assert Index.from_json(index.to_json()).left_out() == index.left_out()
    with pytest.raises(UserError, match=r"2 \.gz \(b\.tar\.gz, c\.tar\.gz\): packed"):
        build_index(data_config(f"{tmp_path}/*.gz"))
