"""When a start looks at the model before it asks for workers."""

from pathlib import Path

import pytest
import ray

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.train import model_check
from cli_ray.train.base import BASE
from cli_ray.train.checks import check_start
from cli_ray.train.environment import record_start
from cli_ray.train.run_folder import RunFolder
from tests.train.training import config_of


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configs whose model was looked at."""
    configs: list[RunConfig] = []

    def check_model(config: RunConfig) -> tuple[InjectionConfig, None]:
        configs.append(config)
        return config.injection, None

    monkeypatch.setattr(model_check, "check_model", check_model)
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(ray, "nodes", list)
    return configs


def begun(config: RunConfig) -> RunFolder:
    """The folder of a run whose ranks have begun."""
    folder = RunFolder(config.folder)
    folder.claim(config)
    record_start(folder)
    folder.event("start")
    folder.event("begin")
    return folder


def test_a_new_run_is_looked_at_and_one_whose_ranks_have_begun_is_not(tmp_path: Path, looked: list[RunConfig]) -> None:
    config = config_of(tmp_path, tmp_path)
    check_start(config, RunFolder(config.folder))
    assert looked == [config]
    check_start(config, begun(config))
    assert looked == [config]


def test_a_changed_config_is_looked_at(tmp_path: Path, looked: list[RunConfig]) -> None:
    config = config_of(tmp_path, tmp_path)
    folder = begun(config)
    changed = config.model_copy(update={"train": config.train.model_copy(update={"packing": False})})
    check_start(changed, folder)
    assert looked == [changed]


def test_a_model_on_the_hub_is_looked_up_at_every_start(tmp_path: Path, looked: list[RunConfig]) -> None:
    config = config_of(tmp_path, tmp_path)
    folder = begun(config)
    folder.write(BASE, '{"checkpoint": {"name": "a/b", "commit": "1f"}}')
    check_start(config, folder)
    assert looked == [config]
