"""Paths of a job, whose working directory is a copy."""

import os
from pathlib import Path
from typing import Any

import pytest

from cli_ray.commands.main import main
from cli_ray.config import RunConfig
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.errors import UserError
from cli_ray.preflight import check_data_root, check_output, check_run
from cli_ray.train.environment import JOB

NOTE = "is relative, and the working directory of a Ray job is a copy of what was submitted"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(JOB, "{}")


def config_of(path: str, held_out: str = "") -> RunConfig:
    values: dict[str, Any] = {"name": "a", "runs_dir": "/tmp/runs", "model": {"checkpoint": "tiny"}}
    validation = {"sources": [{"path": held_out}]} if held_out else {}
    return RunConfig.model_validate(values | {"data": {"sources": [{"path": path}]}, "validation": validation})


def test_a_relative_source_that_stayed_behind_is_explained(job: None, tmp_path: Path) -> None:
    write_tar(synthesize(2, seed=0, split="train"), tmp_path / "here", shard_size=2)
    (tmp_path / "rest").mkdir()
    (tmp_path / "rest" / "README.md").write_text("what .rayignore left of a folder of shards")
    check_run(config_of("here/*.tar"))
    for config in (config_of("shards/*.tar"), config_of("rest"), config_of("here", held_out="held-out/*.tar")):
        with pytest.raises(UserError, match=NOTE):
            check_run(config)


def test_an_absolute_source_is_looked_for_later(job: None) -> None:
    check_run(config_of("/absent/*.tar"))


def test_a_folder_that_cannot_be_made_leaves_none_of_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def mkdir(path: Any, mode: int = 0o777) -> None:
        if Path(path) == tmp_path / "a" / "b" / "c" and (tmp_path / "a" / "b").exists():
            raise PermissionError(13, "Permission denied")
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(UserError, match=r"--output .*c cannot be written: Permission denied"):
        check_output("--output", str(tmp_path / "a" / "b" / "c"))
    assert list(tmp_path.iterdir()) == []


def test_outside_of_a_job_nothing_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB, raising=False)
    monkeypatch.chdir(tmp_path)
    check_run(config_of("shards/*.tar"))
    check_data_root("benchmarks")


def test_benchmarks_and_models_that_stayed_behind_are_explained(job: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=f"--data-root benchmarks is not there. benchmarks {NOTE}"):
        check_data_root("benchmarks")
    words = ["eval", "--model", "models/first", "--output", "/tmp/results", "--miniature", "--benchmarks", "pope"]
    assert main(words) == 1
    assert f"models/first {NOTE}" in capsys.readouterr().err
