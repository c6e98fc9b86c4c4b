"""Benchmarks from the hub: what is fetched, when, and what the cache makes of it."""

from pathlib import Path
from random import Random

import pytest
from huggingface_hub import HfFileSystem, constants

from cli_ray.errors import UserError
from cli_ray.evals.items.hub import files_of, has_all_shards
from cli_ray.evals.items.sources import MissingError, locate, read
from cli_ray.evals.suite import benchmark
from tests.evals.items.hub_cache import REVISION, charts, write_parquet
from tests.evals.items.hub_server import hub

CHARTQA = benchmark("chartqa")


def _settings(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str, offline: bool = False) -> None:
    """What the environment variables of the hub's library set when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    HfFileSystem.clear_instance_cache()


def test_only_footers_are_fetched_until_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(0)
    rows = [row | {"image": random.randbytes(4000)} for row in charts(300)]
    file = write_parquet(tmp_path / "hub/lmms-lab/ChartQA/data/test-00000-of-00001.parquet", rows)
    write_parquet(tmp_path / "hub/lmms-lab/ChartQA/data/val-00000-of-00001.parquet", rows)
    with hub(tmp_path / "hub") as (endpoint, asked):
        _settings(monkeypatch, tmp_path / "cache", endpoint)
        location = locate(CHARTQA, "", miniature=False)
        assert location.where == f"hf://datasets/lmms-lab/ChartQA@{REVISION}"
        assert location.rows == 300
        assert sum(sent for _, path, sent in asked if "resolve" in path) < file.stat().st_size / 4
        answers = [doc["answer"] for _, doc in read(location, location.parts[-1], ("answer",))]
        assert answers == [str(row) for row in range(200, 300)]
        assert [sent for _, _, sent in asked].count(file.stat().st_size) == 1
        asked.clear()
        for offline in (False, True):
            _settings(monkeypatch, tmp_path / "cache", endpoint, offline)
            assert locate(CHARTQA, "", miniature=False) == location
            assert len(list(read(location, location.parts[0], ("answer",)))) == 100
        assert asked == []


def test_what_cannot_be_fetched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "hub/lmms-lab/ChartQA/data/test-00000-of-00001.parquet", charts(3))
    with hub(tmp_path / "hub") as (endpoint, _):
        _settings(monkeypatch, tmp_path / "cache", endpoint)
        location = locate(CHARTQA, "", miniature=False)
        file.unlink()
        with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet"):
            list(read(location, location.parts[0], ("answer",)))
        with pytest.raises(MissingError, match="no files of the split 'test'"):
            locate(CHARTQA, "", miniature=False)
    with pytest.raises(MissingError, match="not to be had from the hub: lmms-lab-encoder/ChartQA: "):
        locate(CHARTQA, "", miniature=False)


@pytest.mark.parametrize(
    ("names", "config", "split", "expected"),
    [
        (["data/test-0.parquet", "data/val-0.parquet", "x.tsv"], "", "test", ["data/test-0.parquet"]),
        (["en/dev-0.parquet", "cn/dev-0.parquet"], "cn", "dev", ["cn/dev-0.parquet"]),
        (["test_2d.parquet", "test_3d.parquet"], "default", "test", ["test_2d.parquet", "test_3d.parquet"]),
        (["data/test-0.parquet", "data/test_lite-0.parquet"], "", "test", ["data/test-0.parquet"]),
        (["testmini.parquet", "testmini_text_only.parquet"], "testmini", "testmini", ["testmini.parquet"]),
        (
            ["a/val-0.parquet", "b/val-0.parquet", "b/test-0.parquet"],
            "*",
            "val",
            ["a/val-0.parquet", "b/val-0.parquet"],
        ),
        (["all.parquet"], "", "val", ["all.parquet"]),
        (["train.parquet"], "", "val", []),
        (["images/a.parquet", "q.parquet"], "", "testdev", ["q.parquet"]),
    ],
)
def test_files_of_a_split_by_their_names(names: list[str], config: str, split: str, expected: list[str]) -> None:
    assert files_of(names, config, split, without=("images",)) == expected


@pytest.mark.parametrize(
    "card",
    ["---\nconfigs: [\n---\n", "---\nconfigs: 3\n---\n", "---\n- 1\n---\n", "no head", "---\nconfigs: [1, {}]\n---\n"],
)
def test_a_card_that_cannot_be_read_says_nothing(card: str) -> None:
    assert files_of(["test.parquet", "val.parquet"], "", "test", card) == ["test.parquet"]


def test_the_card_comes_before_the_names() -> None:
    files = "data_files: [{split: test, path: [b/*.parquet]}, {split: val, path: a/*}]"
    card = f"---\nconfigs:\n- {{config_name: default, {files}}}\n---\n"
    names = ["a/test-0.parquet", "b/x.parquet", "b/y.parquet"]
    assert files_of(names, "", "test", card) == ["b/x.parquet", "b/y.parquet"]
    assert files_of(names, "", "val", card) == ["a/test-0.parquet"]


def test_shards_say_whether_they_are_all() -> None:
    assert has_all_shards(["a/test-00000-of-00002.parquet", "a/test-00001-of-00002-ab12.parquet"]) is True
    assert has_all_shards(["a/test-00000-of-00002.parquet"]) is False
    assert has_all_shards(["a/test-00000-of-00001.parquet", "b.parquet"]) is None
