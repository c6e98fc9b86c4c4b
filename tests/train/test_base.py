"""A run goes on, and is exported, on the base that it was started from."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from transformers.utils import hub

from cli_ray.config import ModelConfig
from cli_ray.errors import UserError
from cli_ray.model.build import load_processor, resolve_injection
from cli_ray.model.tiny import build_tiny, tiny_processor
from cli_ray.train.base import BASE, base_of, check_base, pin_base
from cli_ray.train.run_folder import RunFolder
from tests.model.batches import injection
from tests.model.originals import original
from tests.said import said

COMMITS = ("0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef")


def saved(folder: Path, seed: int = 0) -> Path:
    build_tiny("llava", seed).save_pretrained(folder)
    tiny_processor("llava").save_pretrained(folder)
    return folder


def test_a_folder_with_other_weights_is_refused(tmp_path: Path) -> None:
    base, run = saved(tmp_path / "base"), RunFolder(str(tmp_path / "run"))
    model = ModelConfig(checkpoint=str(base))
    assert pin_base(run, model) == pin_base(run, model) == model
    (base / "notes.txt").write_text("of no consequence")
    assert check_base(run, model) == model
    saved(base, seed=1)
    with pytest.raises(UserError, match=r"model\.checkpoint = .* is not what .* was started from"):
        check_base(run, model)
    with pytest.raises(UserError, match="put those back, or give a new run another name"):
        pin_base(run, model)


def test_a_model_on_the_hub_stays_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, run = tmp_path / "cache", RunFolder(str(tmp_path / "run"))
    for module in (constants, hub.constants):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(cache))
    repository = cache / "models--org--model"
    (repository / "refs").mkdir(parents=True)
    for seed, commit in enumerate(COMMITS):
        saved(repository / "snapshots" / commit, seed)
    (repository / "refs" / "main").write_text(COMMITS[0])
    model = ModelConfig(checkpoint="org/model")
    assert pin_base(run, model).checkpoint == f"org/model@{COMMITS[0]}"
    assert json.loads(run.read(BASE) or "")["checkpoint"]["commit"] == COMMITS[0]
    (repository / "refs" / "main").write_text(COMMITS[1])
    assert base_of(model)["checkpoint"].commit == COMMITS[1]
    again = pin_base(run, model)
    assert again.checkpoint == f"org/model@{COMMITS[0]}"
    assert resolve_injection(again, injection())[0].model_type == "cli_llava"
    load_processor(again)
    shutil.rmtree(repository / "snapshots" / COMMITS[0])
    with pytest.raises(UserError, match="cannot be read"):
        load_processor(again)


def test_the_tower_of_an_original_is_part_of_the_base(tmp_path: Path) -> None:
    folder, _ = original(tmp_path, "llava", tower_inside=False)
    run, model = RunFolder(str(tmp_path / "run")), ModelConfig(checkpoint=str(folder))
    pin_base(run, model)
    build_tiny("llava", seed=3).model.vision_tower.save_pretrained(tmp_path / "tower")
    with pytest.raises(UserError, match=r"model\.vision_tower = '.*tower' is not what"):
        check_base(run, model)


def test_a_run_older_than_its_base_is_pinned_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, run = saved(tmp_path / "base"), RunFolder(str(tmp_path / "run"))
    model = ModelConfig(checkpoint=str(base))
    run.event("start")  # of a start that ended before workers began
    pin_base(run, model)
    assert capsys.readouterr().out == ""
    run.delete_file(BASE)
    run.event("begin", checkpoint=None)
    pin_base(run, model)
    sha256 = base_of(model)["checkpoint"].sha256
    assert said(capsys.readouterr().out) == [
        f"{run.uri} has no base.json, so the base that its earlier starts trained on is unknown: from this start on it "
        f"is model.checkpoint = '{base}' (sha256 {sha256})"
    ]
    assert json.loads(run.read(BASE) or "")["checkpoint"]["sha256"] == sha256
    pin_base(run, model)
    assert capsys.readouterr().out == ""


def test_a_made_model_has_no_base(tmp_path: Path) -> None:
    run = RunFolder(str(tmp_path / "run"))
    assert pin_base(run, ModelConfig(checkpoint="tiny")) == ModelConfig(checkpoint="tiny")
    assert json.loads(run.read(BASE) or "") == {}


def test_an_export_without_a_base_is_not_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, model = RunFolder(str(tmp_path / "run")), ModelConfig(checkpoint="org/model")
    assert check_base(run, ModelConfig(checkpoint="tiny")) == ModelConfig(checkpoint="tiny")
    assert capsys.readouterr().out == ""
    assert check_base(run, model) == model
    assert said(capsys.readouterr().out) == [
        f"{run.uri} has no base.json: nothing tells whether model.checkpoint = 'org/model' is still what it was "
        "trained on"
    ]
