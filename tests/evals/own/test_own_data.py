"""Own data in all its layouts: what is asked, and with which pictures."""

import json
from pathlib import Path

import pytest

from cli_ray.data.sample import BadDataError
from cli_ray.errors import UserError
from cli_ray.evals.items.images import images_of, places_of
from cli_ray.evals.items.own_data import find
from cli_ray.evals.items.sources import locate, read
from cli_ray.evals.items.survey import require, survey
from tests.evals.items.hub_cache import charts, png, write_jsonl, write_parquet
from tests.evals.own.pictures import COLOURS, encoded, made_of, write_folder, write_table, write_tsv

EXACT = {"scorer": "exact", "facets": [], "prompt": "Which colour?", "columns": {"id": "index"}}


def test_a_table_of_vlmevalkit_is_read_as_it_is(tmp_path: Path) -> None:
    write_tsv(tmp_path)
    location = locate(made_of(tmp_path), "", miniature=False)
    docs = list(read(location, location.parts[0]))
    assert [len(images_of(location, doc)) for _, doc in docs] == [1, 1, 1, 1, 1, 2]
    assert images_of(location, docs[4][1]) == images_of(location, docs[0][1]) == [png(4, 3)]
    table = tmp_path / "colours.tsv"
    assert places_of(location, location.parts[0], 4, docs[4][1]) == (f"{table}#row=0&column=image",)
    assert docs[1][1]["question"] == 'Which "colour",\tin row\n1?'
    (finding,) = survey([location.benchmark], "", miniature=False, thorough=True)
    assert (finding.state, finding.found) == ("there", 6)


def test_a_row_may_name_one_with_several_pictures(tmp_path: Path) -> None:
    both = json.dumps([encoded(3), encoded(4)])
    write_table(tmp_path / "colours.tsv", ("index", "image", "answer"), [["a", "b", "x"], ["b", both, "y"]])
    location = locate(made_of(tmp_path, **EXACT), "", miniature=False)
    (_, doc), _ = read(location, location.parts[0])
    assert images_of(location, doc) == [png(3, 3), png(4, 3)]


def test_a_row_that_names_one_without_a_picture_is_bad(tmp_path: Path) -> None:
    write_table(tmp_path / "colours.tsv", ("index", "image", "answer"), [["a", "b", "x"], ["b", "a", "y"]])
    location = locate(made_of(tmp_path, **EXACT), "", miniature=False)
    (_, doc), _ = read(location, location.parts[0])
    with pytest.raises(BadDataError, match="missing image"):
        images_of(location, doc)


def test_a_folder_of_pictures_has_a_table(tmp_path: Path) -> None:
    write_folder(tmp_path / "signs")
    columns = {"id": "file_name", "image": "file_name", "answer": "label"}
    location = locate(made_of(tmp_path, **EXACT | {"data": "signs", "columns": columns}), "", miniature=False)
    docs = [doc for part in location.parts for _, doc in read(location, part)]
    assert [doc["label"] for doc in docs] == list(COLOURS)
    assert images_of(location, docs[2]) == [png(6, 3)]
    assert places_of(location, location.parts[0], 2, docs[2]) == (f"{tmp_path}/signs/2.png",)


def test_a_folder_for_each_class_is_a_table_of_its_own(tmp_path: Path) -> None:
    for place, colour in enumerate(COLOURS):
        (tmp_path / "signs" / colour / "more").mkdir(parents=True)
        (tmp_path / "signs" / colour / "more/1.PNG").write_bytes(png(4 + place, 3))
    (tmp_path / "signs/README.md").write_text("no picture")
    columns = {"id": "image", "answer": "label"}
    location = locate(made_of(tmp_path, **EXACT | {"data": "signs", "columns": columns}), "", miniature=False)
    (tmp_path / "signs/blue/0.png").write_bytes(png())  # while the evaluation runs
    docs = [doc for part in location.parts for _, doc in read(location, part)]
    assert [doc["label"] for doc in docs] == sorted(COLOURS)
    assert images_of(location, docs[0]) == [png(6, 3)]


def test_pictures_that_links_lead_to_from_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "signs/red").mkdir(parents=True)
    (tmp_path / "signs/red/a.png").symlink_to(tmp_path / "secret.png")
    columns = {"id": "image", "answer": "label"}
    (finding,) = survey([made_of(tmp_path, **EXACT | {"data": "signs", "columns": columns})], "", False, thorough=True)
    assert "forbidden path: 'red/a.png': is a link out of" in finding.detail


@pytest.mark.parametrize("data", ["t.parquet", "t.jsonl", "parts/*.parquet", "uri"])
def test_tables_of_each_format_and_globs_and_uris_are_found(data: str, tmp_path: Path) -> None:
    rows = [{"index": str(row), **chart} for row, chart in enumerate(charts(3, image=encoded(4)))]
    write_parquet(tmp_path / "t.parquet", rows)
    write_jsonl(tmp_path / "t.jsonl", rows)
    for part in range(3):
        write_parquet(tmp_path / f"parts/{part}.parquet", rows[part : part + 1])
    data = f"file://{tmp_path}/t.parquet" if data == "uri" else data
    location = locate(made_of(tmp_path, **EXACT | {"data": data}), "", miniature=False)
    docs = [doc for part in location.parts for _, doc in read(location, part)]
    assert [doc["answer"] for doc in docs] == ["0", "1", "2"]
    assert images_of(location, docs[0]) == [png(4, 3)]


def test_a_file_of_the_hub_is_read_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = tmp_path / "hub/datasets--me--signs/snapshots" / ("ab" * 20)
    write_tsv(commit / "data")
    monkeypatch.setattr("cli_ray.evals.items.hub.hf_hub_download", lambda repo, name, **_: str(commit / name))
    data = "hf://datasets/me/signs/data/colours.tsv"
    location = locate(made_of(tmp_path, data=data), "", miniature=False)
    assert location.parts[0].path == f"hf://datasets/me/signs@{'ab' * 20}/data/colours.tsv"
    assert [doc["index"] for _, doc in read(location, location.parts[0])] == [str(100 + row) for row in range(6)]


def test_a_dataset_of_the_hub_has_splits(tmp_path: Path) -> None:
    source = made_of(tmp_path, data="hf://datasets/me/signs", split="val", config="en").source
    assert (source.ids, source.split, source.config) == (("me/signs",), "val", "en")


def test_folders_that_do_not_say_what_they_hold_are_refused(tmp_path: Path) -> None:
    for name, message in {
        "none": "no such file or folder",
        "empty": "the folder is empty",
        "texts": "has neither a table, such as metadata.csv, nor pictures in a folder for each class",
        "two": "the folder has several tables, such as a.csv and b.csv: name one, or a glob",
    }.items():
        if name != "none":
            (tmp_path / name).mkdir()
        for file in {"texts": ["a.txt"], "two": ["a.csv", "b.csv"]}.get(name, []):
            (tmp_path / name / file).write_text("a")
        with pytest.raises(UserError, match=message):
            locate(made_of(tmp_path, data=name), "", miniature=False)
    (tmp_path / "two/metadata.csv").write_text("a")
    assert find(str(tmp_path / "two"))[2] == [f"{tmp_path}/two/metadata.csv"]


def test_a_part_of_the_items_is_not_the_whole_set(tmp_path: Path) -> None:
    write_tsv(tmp_path)
    locations = require([made_of(tmp_path)], "", miniature=False, limit=2)
    assert (locations["colours"].rows, locations["colours"].benchmark.count) == (2, 6)
