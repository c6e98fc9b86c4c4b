"""The hash of a model changes with what it answers by, and with nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from cli_ray.errors import UserError
from evals.generation import fingerprint as module
from evals.generation.fingerprint import fingerprint, model_folder


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


def test_a_model_that_is_nowhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="'no/such-model-here' is neither a folder"):
        model_folder("no/such-model-here")
    with pytest.raises(UserError, match="neither a folder"):
        model_folder("./gone/with/steps")
