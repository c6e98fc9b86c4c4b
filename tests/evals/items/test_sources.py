"""Finding and reading the items of a benchmark: folders, hub, parts, columns and images."""

import base64
import copy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from ray import cloudpickle

from cli_ray.data.sample import BadDataError
from cli_ray.errors import UserError
from cli_ray.evals.benchmark import Benchmark
from cli_ray.evals.items import tables
from cli_ray.evals.items.sources import Location, MissingError, WrongColumnsError, images_of, locate, read
from cli_ray.evals.suite import BENCHMARKS, benchmark
from tests.evals.items.hub_cache import REVISION, cached_repo, charts, png, write_jsonl, write_parquet

CHARTQA = benchmark("chartqa")


def _answers(one: Benchmark, location: Location) -> list[str]:
    docs = [doc for part in location.parts for _, doc in read(location, part, ("answer",))]
    assert all(set(doc) == {"answer"} for doc in docs)
    return [doc["answer"] for doc in docs]


@pytest.mark.parametrize(
    "name", ["chartqa/part.parquet", "chartqa/deep/part.parquet", "ChartQA/data/test-00000-of-00001.parquet"]
)
def test_folders_named_as_the_benchmark_or_its_dataset(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path / name, charts(5))
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    assert location.kind == "folder"
    assert location.where == str(tmp_path / name.split("/")[0])
    assert _answers(CHARTQA, location) == ["0", "1", "2", "3", "4"]


def test_other_splits_and_configurations_of_a_snapshot_are_left_out(tmp_path: Path) -> None:
    for config in ("DocVQA", "InfographicVQA"):
        for split in ("validation", "test"):
            row = {"questionId": f"{config} {split}", "question": "?", "answers": ["x"], "image": {"bytes": png()}}
            write_parquet(tmp_path / "DocVQA" / config / f"{split}-00000-of-00001.parquet", [row])
    location = locate(benchmark("infovqa-val"), str(tmp_path), miniature=False)
    assert [doc["questionId"] for _, doc in read(location, location.parts[0])] == ["InfographicVQA validation"]


def test_the_card_says_which_files_are_a_split(tmp_path: Path) -> None:
    row = {"index": 1, "question": "?", "answer": "A", "category": "c", "l2_category": "l", "image": png()}
    write_parquet(tmp_path / "mmstar/all.parquet", [row])
    write_parquet(tmp_path / "mmstar/more.parquet", [row])
    head = "configs:\n- config_name: val\n  default: true\n  data_files:\n  - split: val\n    path: all.parquet"
    (tmp_path / "mmstar/README.md").write_text(f"---\n{head}\n---\n# MMStar")
    location = locate(benchmark("mmstar"), str(tmp_path), miniature=False)
    assert [part.path for part in location.parts] == [str(tmp_path / "mmstar/all.parquet")]


def test_all_configurations_of_a_dataset_are_numbered_through(tmp_path: Path) -> None:
    for name in ("Counting", "Jigsaw"):
        rows = [
            {"idx": f"{name}_{i}", "prompt": "?", "choices": ["a"], "answer": "(A)", "sub_task": name, "image_1": png()}
            for i in range(3)
        ]
        write_parquet(tmp_path / "BLINK" / name / "val-00000-of-00001.parquet", rows)
        write_parquet(tmp_path / "BLINK" / name / "test-00000-of-00001.parquet", rows)
    one = benchmark("blink-val")
    location = locate(one, str(tmp_path), miniature=False)
    found = [(number, doc["idx"], doc["image_2"]) for part in location.parts for number, doc in read(location, part)]
    assert [number for number, _, _ in found] == [0, 1, 2, 3, 4, 5]
    assert [idx for _, idx, _ in found] == [f"{name}_{i}" for name in ("Counting", "Jigsaw") for i in range(3)]
    assert {absent for _, _, absent in found} == {None}


def test_row_groups_are_cut_into_parts(tmp_path: Path) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(300), group_rows=250)
    write_parquet(tmp_path / "chartqa/b.parquet", charts(10))
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    parts = [(Path(part.path).name, part.group, part.start, part.rows, part.first) for part in location.parts]
    assert parts == [
        ("a.parquet", 0, 0, 128, 0),
        ("a.parquet", 0, 128, 122, 128),
        ("a.parquet", 1, 0, 50, 250),
        ("b.parquet", 0, 0, 10, 300),
    ]
    numbers = [number for part in location.parts for number, _ in read(location, part, ("answer",))]
    assert numbers == list(range(310))
    assert _answers(CHARTQA, location) == [str(row) for row in (*range(300), *range(10))]
    assert copy.copy(location) == location
    assert cloudpickle.dumps(location)


def test_only_the_wanted_rows_are_given(tmp_path: Path) -> None:
    write_parquet(tmp_path / "chartqa/a.parquet", charts(200))
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    found = [number for part in location.parts for number, _ in read(location, part, ("answer",), rows={3, 150})]
    assert found == [3, 150]


def test_json_lines_are_found_by_their_bytes(tmp_path: Path) -> None:
    rows = charts(300, image="pictures/ä.png")
    write_jsonl(tmp_path / "chartqa/a.jsonl", rows)
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    assert [(part.start, part.rows, part.first) for part in location.parts] == [
        (0, 128, 0),
        (128, 128, 128),
        (256, 44, 256),
    ]
    assert _answers(CHARTQA, location) == [row["answer"] for row in rows]


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "chartqa/a.jsonl", charts(2, image="a.png"))
    path.write_text(path.read_text() + "{broken\n")
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    with pytest.raises(UserError, match=r"a\.jsonl: record 2 is no JSON"):
        _answers(CHARTQA, location)


def test_a_line_without_a_column_is_named(tmp_path: Path) -> None:
    rows = charts(3, image="a.png")
    del rows[2]["answer"], rows[1]["image"]
    write_jsonl(tmp_path / "chartqa/a.jsonl", rows)
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    found = read(location, location.parts[0])
    assert [next(found)[1]["image"], next(found)[1]["image"]] == ["a.png", None]
    with pytest.raises(WrongColumnsError, match=r"chartqa: row 2, in .*a\.jsonl, lacks the column answer"):
        next(found)


def test_rows_of_other_kinds_are_left_out(tmp_path: Path) -> None:
    one = benchmark("seed-image")
    texts: dict[str, Any] = dict.fromkeys(one.columns, "x")
    rows = [texts | {"data_type": kind, "image": [png()]} for kind in ("image", "video", "image")]
    write_parquet(tmp_path / "seed-image/a.parquet", rows)
    location = locate(one, str(tmp_path), miniature=False)
    assert [number for number, _ in read(location, location.parts[0], ("answer",))] == [0, 2]


def test_missing_columns_are_named_with_those_found(tmp_path: Path) -> None:
    rows = [{"question": "?", "picture": b"", "label": "x", "type": "t"}]
    for write, name in ((write_parquet, "a.parquet"), (write_jsonl, "a.jsonl")):
        folder = tmp_path / name
        write(folder / "chartqa" / name, [row | {"picture": "x"} for row in rows])
        with pytest.raises(WrongColumnsError) as caught:
            locate(CHARTQA, str(folder), miniature=False)
        assert "lacks the columns answer, image; it has question, picture, label, type" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no folder .*chartqa or .*ChartQA"),
        ({"chartqa/notes.txt": b"x"}, "no .parquet or .jsonl file with the split 'test'"),
        ({"chartqa/train-0.parquet": b"x"}, "no .parquet or .jsonl file with the split 'test'"),
        ({"chartqa/a.parquet": b"not a table"}, "a.parquet: cannot be read"),
        ({"chartqa/.hidden": b"x"}, "has no files"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MissingError, match=message):
        locate(CHARTQA, str(tmp_path), miniature=False)


def test_a_file_cut_short_after_it_was_found(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "chartqa/a.parquet", charts(5))
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"a\.parquet: rows from 0 on cannot be read"):
        _answers(CHARTQA, location)


@pytest.mark.parametrize(
    "cell",
    [
        {"bytes": png(), "path": "x.png"},
        png(),
        {"bytes": base64.b64encode(png()).decode()},
        {"bytes": base64.encodebytes(png()).decode()},
        base64.b64encode(png()).decode(),
        [base64.encodebytes(png()).decode()],
        f"data:image/png;base64,{base64.b64encode(png()).decode()}",
        {"bytes": None, "path": base64.b64encode(png()).decode()},
        "pictures/a.png",
        {"bytes": None, "path": "pictures/a.png"},
        [png()],
    ],
)
def test_images_in_every_form(tmp_path: Path, cell: Any) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(png())
    location = Location(CHARTQA, "folder", str(tmp_path), ())
    assert images_of(location, {"image": cell}) == [png()]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "missing image"),
        ("gone.png", "missing image"),
        ("../secret.png", "forbidden path"),
        ("/etc/passwd", "forbidden path"),
        ("link.png", "forbidden path"),
        ({"bytes": "no base64!"}, "broken image"),
        ("x!" * 600_000, "broken image"),
        ({"bytes": "x!" * 600_000}, "broken image"),
        (base64.b64encode(png()).decode()[:-3], "broken image"),
        ("data:image/png;base64,x!", "broken image"),
        ("x/" * 2000, "missing image"),
        ({"bytes": None, "path": None}, "missing image"),
    ],
)
def test_images_that_cannot_be_had(tmp_path: Path, cell: Any, reason: str) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    folder = tmp_path / "chartqa"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(BadDataError) as caught:
        images_of(Location(CHARTQA, "folder", str(folder), ()), {"image": cell})
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["gqa", "blink-val", "mathvista-testmini"])
def test_base64_is_read_wherever_images_are(tmp_path: Path, name: str) -> None:
    """A shared table, one of several columns, a column of another name."""
    one, text = benchmark(name), base64.b64encode(png()).decode()
    column = "image" if one.images_from else one.image_columns[0]
    pq.write_table(pa.table({"id": ["a"], column: [text]}), tmp_path / "x.parquet")
    parts = tables.survey(str(tmp_path / "x.parquet"), 0).parts
    location = Location(one, "folder", str(tmp_path), parts, parts)
    assert images_of(location, {"imageId": "a", column: text}) == [png()]


def test_several_images_come_in_the_order_of_their_columns() -> None:
    doc = {"image_1": png(1, 1), "image_2": None, "image_3": [png(3, 1), png(4, 1)]}
    location = Location(benchmark("blink-val"), "folder", "/", ())
    assert images_of(location, doc) == [png(1, 1), png(3, 1), png(4, 1)]


@pytest.mark.parametrize("folder", ["images", "testdev_balanced_images"])
def test_images_shared_by_questions(tmp_path: Path, folder: str) -> None:
    one = benchmark("gqa")
    questions = [{"id": str(i), "imageId": f"n{i % 2}", "question": "?", "answer": "x"} for i in range(4)]
    config = "testdev_balanced_instructions" if folder != "images" else "questions"
    write_parquet(tmp_path / "gqa" / config / "testdev-0.parquet", questions)
    images = [{"id": f"n{i}", "image": {"bytes": png(i + 1, 1), "path": None}} for i in range(2)]
    write_parquet(tmp_path / "gqa" / folder / "testdev-0.parquet", images)
    location = locate(one, str(tmp_path), miniature=False)
    docs = [doc for part in location.parts for _, doc in read(location, part)]
    assert [images_of(location, doc) for doc in docs] == [[png(1, 1)], [png(2, 1)]] * 2
    with pytest.raises(BadDataError, match="no image 'n9'"):
        images_of(location, {"imageId": "n9"})


def test_uris_are_data_roots(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "chartqa/a.jsonl", charts(2, image="a.png"))
    (tmp_path / "chartqa/a.png").write_bytes(png())
    location = locate(CHARTQA, f"file://{tmp_path}", miniature=False)
    (part,) = location.parts
    assert [images_of(location, doc) for _, doc in read(location, part)] == [[png()], [png()]]


@pytest.mark.parametrize("repo", ["lmms-lab-encoder/ChartQA", "lmms-lab/ChartQA"])
def test_the_cache_of_the_hub_serves_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: str
) -> None:
    _offline(tmp_path, monkeypatch)
    snapshot = cached_repo(tmp_path, repo)
    write_parquet(snapshot / "data/test-00000-of-00002.parquet", charts(3))
    write_parquet(snapshot / "data/test-00001-of-00002.parquet", charts(2))
    location = locate(CHARTQA, "", miniature=False)
    assert location.kind == "hub"
    assert location.where == f"hf://datasets/{repo}@{REVISION}"
    assert [part.path for part in location.parts] == [
        f"hf://datasets/{repo}@{REVISION}/data/test-0000{number}-of-00002.parquet" for number in range(2)
    ]
    assert _answers(CHARTQA, location) == ["0", "1", "2", "0", "1"]


def test_half_a_split_in_the_cache_is_not_taken_for_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _offline(tmp_path, monkeypatch)
    snapshot = cached_repo(tmp_path, "lmms-lab/ChartQA")
    write_parquet(snapshot / "data/test-00000-of-00002.parquet", charts(3))
    with pytest.raises(MissingError) as caught:
        locate(CHARTQA, "", miniature=False)
    message = str(caught.value)
    assert "lmms-lab-encoder/ChartQA" in message
    assert "lmms-lab/ChartQA" in message
    assert "--data-root" in message


def test_a_data_root_or_the_miniature_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("cli_ray.evals.items.hub.find", fail)
    write_parquet(tmp_path / "chartqa/a.parquet", charts(1))
    assert locate(CHARTQA, str(tmp_path), miniature=False).rows == 1
    assert locate(CHARTQA, "", miniature=True).rows > 1


def test_a_large_split_is_read_in_flat_memory(tmp_path: Path) -> None:
    """200,000 rows, the last group of 2,000 with images: no part is large, and no column is read whole."""
    path = tmp_path / "chartqa/a.parquet"
    path.parent.mkdir()
    random = Random(0)
    images = [random.randbytes(1 << 14) for _ in range(2_000)]
    groups = [[b""] * 66_000] * 3 + [images]
    schema = pa.Table.from_pylist(charts(1, image=b"")).schema
    with pq.ParquetWriter(path, schema, use_dictionary=False, write_batch_size=16) as writer:
        for cells in groups:
            texts = pa.array(["x"] * len(cells))
            writer.write_table(pa.table([texts, texts, texts, cells], schema), row_group_size=len(cells))
    location = locate(CHARTQA, str(tmp_path), miniature=False)
    assert location.rows == 200_000
    assert max(part.rows for part in location.parts) <= 128
    assert len(cloudpickle.dumps(location)) < 200 * len(location.parts)
    before = pa.total_allocated_bytes()
    peak = 0
    last = location.parts[-1]
    for number, doc in read(location, last):
        assert doc["image"] == images[number - 198_000]
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 6 << 20, f"{peak / 2**20:.1f} MiB for a column of {2_000 / 64:.1f} MiB"


def test_later_image_columns_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(CHARTQA, image_columns=("image", "image_2"))
    monkeypatch.setitem(BENCHMARKS, "chartqa", one)
    write_parquet(tmp_path / "chartqa/a.parquet", charts(1))
    location = locate(one, str(tmp_path), miniature=False)
    ((_, doc),) = read(location, location.parts[0])
    assert images_of(location, doc) == [png()]


def _offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
