"""The table of samples gives back what was put in."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import ScoredItem
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.samples import (
    ASKED,
    ROWS_PER_GROUP,
    SCHEMA,
    AskedItem,
    read_columns,
    read_samples,
    samples_table,
)
from tests.evals.results.outputs import record, sample, samples


def write(
    path: str, records: Iterable[ReplyRecord], found: Iterable[ScoredItem], asked: AskedItem | None = None
) -> None:
    with samples_table(path, "strict", "gpt", "ab12") as add:
        for one, scored in zip(records, found, strict=True):
            add(one, scored, asked or AskedItem())


def test_rows_come_back_equal(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "toy.parquet")
    found = [
        sample(0, 0.5, facets={"type": "human", "list": [1, None], "n": 3}, parts={"iou": 0.25}, unit="u"),
        sample(1, None, state="unjudged", stand_in=1.0, parsed="ünï\n|"),
        sample(2, None, state="error", rule="generation failed", parsed=""),
    ]
    records = [record("toy", one, "m", seconds=0.5, attempts=2, prompt_tokens=700) for one in found]
    write(path, records, found)
    items = list(read_samples(path))
    assert [item.record for item in items] == records
    assert [item.sample for item in items] == found
    assert {item[2:] for item in items} == {("strict", "gpt", "ab12")}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["toy.parquet"]
    assert list(read_samples(f"file://{path}")) == items


def test_groups_stream(tmp_path: Path) -> None:
    path = str(tmp_path / "toy.parquet")
    found = samples([0.0] * (ROWS_PER_GROUP + 3))
    write(path, (record("toy", one, "m") for one in found), found)
    assert pq.ParquetFile(path).num_row_groups == 2
    assert [one["sample_id"] for one in read_columns(path, ["sample_id"])] == [one.id for one in found]


def test_an_empty_table(tmp_path: Path) -> None:
    write(str(tmp_path / "toy.parquet"), [], [])
    assert pq.read_schema(tmp_path / "toy.parquet").names == SCHEMA.names
    assert list(read_samples(str(tmp_path / "toy.parquet"))) == []


def test_a_reply_cut_within_a_character(tmp_path: Path) -> None:
    path = str(tmp_path / "toy.parquet")
    one = sample(0, 1.0, parsed="a\ud83d", facets={"gold": "\ud83d"})
    write(path, [record("toy", one, "m", reply="b\ud83d")], [one])
    (item,) = read_samples(path)
    assert (item.record.reply, item.sample.parsed, item.sample.facets) == ("b?", "a?", {"gold": "\ud83d"})


def test_a_table_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    with pytest.raises(ValueError, match="longer"):
        write(str(path), [record("toy", sample(0, 1.0), "m")], samples([1.0, 0.0]))
    assert list(tmp_path.iterdir()) == []


def test_a_table_says_what_was_asked(tmp_path: Path) -> None:
    path = str(tmp_path / "toy.parquet")
    asked = AskedItem("<script>\ud83d", "p" * 100_000, "\u202egold", ("a.png", "b.png"), b"webp")
    write(path, [record("toy", sample(0, 1.0), "m")], [sample(0, 1.0)], asked)
    (row,) = read_columns(path, ASKED)
    assert row == asdict(asked) | {"question": "<script>?", "images": ["a.png", "b.png"]}


def test_a_table_of_an_older_version_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    write(str(path), [record("toy", sample(0, 1.0), "m")], [sample(0, 1.0)])
    pq.write_table(pq.read_table(path).drop_columns(list(ASKED)), path)
    (row,) = read_columns(str(path), ("sample_id", "gold", "thumbnail"))
    assert row == {"sample_id": "0000", "gold": None, "thumbnail": None}
    assert [item.sample for item in read_samples(str(path))] == [sample(0, 1.0)]


def test_what_is_no_table_is_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pq.write_table(pq.read_table(_empty(tmp_path)).drop_columns(["score"]), tmp_path / "other.parquet")
    for name in ("broken", "absent"):
        with pytest.raises(UserError, match=rf"{name}.parquet: cannot be read"):
            list(read_samples(str(tmp_path / f"{name}.parquet")))
    with pytest.raises(UserError, match=r"other.parquet: lacks the columns score"):
        list(read_samples(str(tmp_path / "other.parquet")))


def _empty(folder: Path) -> Path:
    write(str(folder / "empty.parquet"), [], [])
    return folder / "empty.parquet"
