"""The hash of a model changes with what it answers by, and with nothing else."""

import json
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from cli_ray.errors import UserError
from cli_ray.evals.generation import fingerprint as module
from cli_ray.evals.generation.fingerprint import config_of, fingerprint, resolve
from cli_ray.inference.load import load, read_processor
from tests.evals.generation.charts import REPLICA, save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "model-00001-of-00002.safetensors").write_bytes(b"one" * 100)
    (path / "model-00002-of-00002.safetensors").write_bytes(b"two" * 100)
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        (path / name).write_text(name)
    return path


def test_only_names_and_contents_count(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(str(folder))
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    os.utime(copy / "config.json", (0, 0))
    (copy / "README.md").write_text("a card")
    (copy / "optimizer.pt").write_bytes(b"not read")
    assert fingerprint(str(copy)) == before
    assert len(before) == 32
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    assert fingerprint(str(linked)) == before


@pytest.mark.parametrize(
    "name", ["model-00002-of-00002.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_each_file_counts(folder: Path, name: str) -> None:
    before = fingerprint(str(folder))
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"!")
    changed = fingerprint(str(folder))
    path.write_bytes(data)
    path.rename(folder / f"a{name}")
    assert len({before, changed}) == 2
    if path.suffix == ".safetensors":
        assert fingerprint(str(folder)) not in (before, changed)


def test_pieces_of_a_large_file_count_in_their_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_BYTES", 30)
    monkeypatch.setattr(module, "_READ_BYTES", 7)
    weights = folder / "model-00001-of-00002.safetensors"
    weights.write_bytes(b"a" * 30 + b"b" * 30 + b"c")
    before = fingerprint(str(folder))
    weights.write_bytes(b"b" * 30 + b"a" * 30 + b"c")
    assert fingerprint(str(folder)) != before
    weights.write_bytes(b"a" * 30 + b"b" * 30)
    assert fingerprint(str(folder)) != before


@pytest.mark.parametrize("name", ["config.json", "*.safetensors"])
def test_a_folder_without_a_model_is_refused(folder: Path, name: str) -> None:
    for path in folder.glob(name):
        path.unlink()
    with pytest.raises(UserError, match="holds no model"):
        fingerprint(str(folder))


OLD, NEW = "0" * 40, "1" * 40


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in a cache of the hub, which may be asked for nothing."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "hub/models--some--model"
    (folder / "refs").mkdir(parents=True)
    return folder


def test_a_hub_model_is_resolved_to_its_commit(repo: Path, folder: Path) -> None:
    shutil.copytree(folder, repo / "snapshots" / OLD)
    (repo / "refs/main").write_text(OLD)
    assert resolve("some/model") == (repo / "snapshots" / OLD, OLD)
    assert fingerprint("some/model") == fingerprint(str(folder))
    assert resolve(str(folder)) == (folder, "")


def test_the_resolved_revision_is_loaded_when_the_hub_has_moved_on(repo: Path) -> None:
    snapshot = repo / "snapshots" / OLD
    save_model(snapshot, "llava")
    (repo / "refs/main").write_text(OLD)
    _, revision = resolve("some/model")
    newer = repo / "snapshots" / NEW
    newer.mkdir()
    (newer / "config.json").write_text('{"model_type": "bert"}')
    (repo / "refs/main").write_text(NEW)

    model, processor = load("some/model", REPLICA, revision)

    assert (model.config.model_type, revision) == ("llava", OLD)
    assert processor.chat_template == (snapshot / "chat_template.jinja").read_text()
    with pytest.raises(UserError, match="is a bert"):
        load("some/model", REPLICA)


def test_a_processor_that_contradicts_the_config_is_reported_before_weights_are_read(tmp_path: Path) -> None:
    save_model(tmp_path, "llava")
    (tmp_path / "model.safetensors").unlink()
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"image_token_index": 2}))
    with pytest.raises(UserError, match=r"'<image>' is token 3 .* image_token_index = 2"):
        read_processor(str(tmp_path))
    assert config_of(str(tmp_path))["image_token_index"] == 2


def test_a_model_that_is_nowhere_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="'no/such-model-here' is neither a folder"):
        resolve("no/such-model-here")
    with pytest.raises(UserError, match="neither a folder"):
        resolve("./gone/with/steps")
