"""What a run ran on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from cli_ray.train import environment
from cli_ray.train.environment import (
    JOB,
    PACKAGE,
    code,
    code_hash,
    driver_version,
    grouped,
    has_begun_here,
    record_start,
)
from cli_ray.train.run_folder import RunFolder

MODULE = "NVRM version: NVIDIA UNIX {}  {}  Tue Mar 5 22:25:27 UTC 2024\nGCC version: gcc version 12.3.0\n"


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a Ray job cli_ray may lie in the working directory alone."""
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package", "pytest"))
    assert environment.versions() == {"pytest": pytest.__version__}


def test_the_first_start_stays_and_each_later_one_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter("abc")
    monkeypatch.setattr(environment, "environment", lambda: {"time": next(times)})
    for _ in range(3):
        record_start(RunFolder(str(tmp_path)))
    assert json.loads((tmp_path / "environment.json").read_text()) == {
        "time": "a",
        "resumes": [{"time": "b"}, {"time": "c"}],
    }


def test_a_start_is_like_the_one_before_where_ranks_began_with_the_same_packages_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(ray, "nodes", list)
    folder = RunFolder(str(tmp_path))
    assert not has_begun_here(folder)
    record_start(folder)
    folder.event("start")
    assert not has_begun_here(folder), "its ranks may have met a fault that a check would name"
    folder.event("begin")
    folder.event("checkpoint")
    assert has_begun_here(folder)
    monkeypatch.setattr(environment, "code_hash", lambda package: "other")
    assert not has_begun_here(folder)
    record_start(folder)
    folder.event("resume")
    folder.event("begin")
    assert has_begun_here(folder)
    monkeypatch.setattr(environment, "PACKAGES", ("pytest",))
    assert not has_begun_here(folder)


def test_workers_are_noted_with_the_start_that_they_belong_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"gpu": "H100", "driver": "570.86.15", "cuda": "12.8"}
    ranks = [{"node": "a", **gpu}, {"node": "a", **gpu}, {"node": "b", **gpu}]
    monkeypatch.setattr(environment, "environment", lambda: {})
    monkeypatch.setattr(environment, "accelerator", lambda: {})
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    folder = RunFolder(str(tmp_path))
    record_start(folder)
    for present in (ranks, ranks, ranks[:2]):  # a start again after a failure, and one on fewer nodes

        def gather(into: list[Any], own: Any, present: list[Any] = present) -> None:
            into[:] = present

        monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
        environment.record_workers(folder)
    record_start(folder)
    environment.record_workers(folder)
    whole = json.loads((tmp_path / "environment.json").read_text())
    assert whole["workers"] == [{**gpu, "ranks": 3, "nodes": 2}, {**gpu, "ranks": 2, "nodes": 1}]
    assert whole["resumes"] == [{"workers": [{**gpu, "ranks": 2, "nodes": 1}]}]


def test_ranks_on_different_gpus_are_told_apart() -> None:
    ranks = [{"node": "a", "gpu": "H100"}, {"node": "b", "gpu": "A100"}]
    assert grouped(ranks) == [
        {"gpu": "H100", "ranks": 1, "nodes": 1},
        {"gpu": "A100", "ranks": 1, "nodes": 1},
    ]


def test_the_driver_is_read_of_both_kernel_modules() -> None:
    assert driver_version(MODULE.format("x86_64 Kernel Module", "550.54.15")) == "550.54.15"
    assert driver_version(MODULE.format("Open Kernel Module for x86_64", "570.86.15")) == "570.86.15"
    assert driver_version("") is None


def test_a_checkout_says_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_git", lambda *words: {"rev-parse": "abc", "status": " M a.py"}.get(words[0], ""))
    assert code() == {"commit": "abc", "changed": True, "sha256": code_hash(PACKAGE)}


@pytest.mark.parametrize(
    ("metadata", "commit", "changed"),
    [({"commit": "abc"}, "abc", False), ({"commit": "abc-dirty"}, "abc", True), ({}, None, None)],
)
def test_a_job_says_the_commit_of_its_submitter(
    metadata: dict[str, str], commit: str | None, changed: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_git", lambda *words: None)
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": {}, "metadata": metadata}))
    assert code() == {"commit": commit, "changed": changed, "sha256": code_hash(PACKAGE)}


def test_a_copy_has_the_hash_of_the_original_and_a_change_another(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "cli_ray", ignore=shutil.ignore_patterns("__pycache__"))
    assert code_hash(tmp_path / "cli_ray") == code_hash(PACKAGE)
    prompt = tmp_path / "cli_ray/evals/prompts/mm_vet.txt"
    prompt.write_text(prompt.read_text() + " ")
    assert code_hash(tmp_path / "cli_ray") != code_hash(PACKAGE)


def test_what_is_known_of_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": False}])
    told = environment.environment()
    assert told["time"].endswith("+00:00")
    assert (told["nodes"], told["cluster"]) == (1, {"CPU": 4.0, "GPU": 0, "memory": 0})
