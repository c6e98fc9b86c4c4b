"""The table of samples gives back what was put in."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli_ray.errors import UserError
from cli_ray.evals.results.aggregate import row
from cli_ray.evals.results.samples import ROWS_PER_GROUP, SCHEMA, read_columns, read_samples, samples_table
from tests.evals.results.outputs import judged, made, record, sample, samples

ROW = row(judged(), [], 3, "strict", "gpt", "ab12")


def test_rows_come_back_equal(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "toy.parquet")
    found = [
        sample(0, 0.5, facets={"type": "human", "list": [1, None], "n": 3}, parts={"iou": 0.25}, unit="u"),
        sample(1, None, state="unjudged", stand_in=1.0, parsed="ünï\n|"),
        sample(2, None, state="error", rule="generation failed", parsed=""),
    ]
    records = [record("toy", one, "m", seconds=0.5, attempts=2, prompt_tokens=700) for one in found]
    samples_table(path, iter(records), found[::-1], ROW)
    items = list(read_samples(path))
    assert [item.record for item in items] == records
    assert [item.sample for item in items] == found
    assert {item[2:] for item in items} == {("strict", "gpt", "ab12")}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["toy.parquet"]
    assert list(read_samples(f"file://{path}")) == items


def test_groups_stream(tmp_path: Path) -> None:
    path = str(tmp_path / "toy.parquet")
    found = samples([0.0] * (ROWS_PER_GROUP + 3))
    samples_table(path, (record("toy", one, "m") for one in found), found, ROW)
    assert pq.ParquetFile(path).num_row_groups == 2
    assert [one["sample_id"] for one in read_columns(path, ["sample_id"])] == [one.id for one in found]


def test_an_empty_table(tmp_path: Path) -> None:
    samples_table(str(tmp_path / "toy.parquet"), [], [], ROW)
    assert pq.read_schema(tmp_path / "toy.parquet").names == SCHEMA.names
    assert list(read_samples(str(tmp_path / "toy.parquet"))) == []


def test_a_reply_cut_within_a_character(tmp_path: Path) -> None:
    path = str(tmp_path / "toy.parquet")
    one = sample(0, 1.0, parsed="a\ud83d", facets={"gold": "\ud83d"})
    samples_table(path, [record("toy", one, "m", reply="b\ud83d")], [one], ROW)
    (item,) = read_samples(path)
    assert (item.record.reply, item.sample.parsed, item.sample.facets) == ("b?", "a?", {"gold": "\ud83d"})


def test_records_and_samples_must_be_of_the_same_items(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    found = samples([1.0, 0.0])
    records = [record("toy", one, "m") for one in found]
    for wrong in ([*records, records[0]], records):
        with pytest.raises(UserError, match=r"judged: the record of sample '000[01]' has no score or is double"):
            samples_table(str(path), wrong, found if len(wrong) == 3 else found[:1], ROW)
    with pytest.raises(UserError, match="1 samples have no record, such as '0001'"):
        samples_table(str(path), records[:1], found, ROW)
    assert not path.exists()


def test_what_is_no_table_is_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pq.write_table(pq.read_table(_empty(tmp_path)).drop_columns(["score"]), tmp_path / "other.parquet")
    for name in ("broken", "absent"):
        with pytest.raises(UserError, match=rf"{name}.parquet: cannot be read"):
            list(read_samples(str(tmp_path / f"{name}.parquet")))
    with pytest.raises(UserError, match=r"other.parquet: lacks the columns score"):
        list(read_samples(str(tmp_path / "other.parquet")))


def _empty(folder: Path) -> Path:
    samples_table(str(folder / "empty.parquet"), [], [], row(made(), [], 0, "strict"))
    return folder / "empty.parquet"
