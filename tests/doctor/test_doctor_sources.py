import json
from pathlib import Path

import pytest
import ray

from cli_ray.config import RunConfig
from cli_ray.doctor import sources
from cli_ray.doctor.cluster import Answers
from cli_ray.doctor.sources import check_sources, count_files, find_models, try_model
from cli_ray.model.tiny import build_tiny, tiny_processor


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def config(path: Path, **model: str) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "run",
            "model": model or {"checkpoint": "tiny"},
            "data": {"sources": [{"path": str(path), "name": "mine"}]},
            "optim": {"llm": {"lr": 1e-3}},
        }
    )


def saved(folder: Path) -> Path:
    """A tiny model without weights, which nobody here reads."""
    build_tiny("llava").config.save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return folder


def test_sources_and_models_that_are_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "1.tar").touch()
    model = saved(tmp_path / "model")
    told = [(one.level, one.what) for one in check_sources(config(tmp_path / "data", checkpoint=str(model)), 60)]
    assert told == [
        ("ok", f"mine: 1 file in {tmp_path / 'data'}"),
        ("ok", f"{model} is found by 1 node"),
        ("ok", "config, tokenizer and processor load on 1 node"),
    ]


def test_a_tokenizer_that_cannot_be_loaded_is_told_with_the_node(tmp_path: Path) -> None:
    model = saved(tmp_path / "model")
    (model / "tokenizer.json").write_text("{}")
    *_, found = check_sources(config(tmp_path, checkpoint=str(model)), 60)
    assert found.level == "error"
    assert "the tokenizer or the processor cannot be loaded" in found.what
    saved(model)
    values = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(values | {"image_token_index": 2}))
    *_, found = check_sources(config(tmp_path, checkpoint=str(model)), 60)
    assert "'<image>' is token 3 of the tokenizer, but image_token_index = 2" in found.what


def test_a_missing_source_is_told_with_its_fix(tmp_path: Path) -> None:
    found, read = check_sources(config(tmp_path / "absent"), 60)
    assert read.what == "config, tokenizer and processor load on 1 node"
    assert found.level == "error"
    assert f"{tmp_path / 'absent'}: no such file" in found.what
    assert "data.sources" in found.fix


def test_nodes_that_see_other_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {count_files: Answers({"a": {"mine": 2}, "b": {"mine": 1}}), try_model: Answers[object]()}
    monkeypatch.setattr(sources, "on_every_node", lambda function, *arguments, timeout_s: seen[function])
    (found,) = check_sources(config(tmp_path), 60)
    assert found.level == "error"
    assert found.what.endswith("2 on a, 1 on b")


def test_models_are_looked_for_without_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    names = ["/absent/model", str(tmp_path / "empty"), "nobody/no-such-model"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert list(find_models("here", names, "main").values()) == [
        "no such folder",
        "the folder has no config.json",
        "no such folder, not in the cache of the hub, and HF_HUB_OFFLINE is set",
    ]


def test_files_are_counted_per_source(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).touch()
    counts = count_files("here", {"both": str(tmp_path), "one": str(tmp_path / "a.*")})
    assert counts == {"both": 2, "one": 1}
