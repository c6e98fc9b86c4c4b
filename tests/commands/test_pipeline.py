"""The stages of a pipeline: what is complete is passed over, what fails is told and tried again."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli_ray import autoscaler, capacity, cluster
from cli_ray.commands.main import main
from cli_ray.config.run import with_absolute_paths
from cli_ray.errors import RunFailedError
from cli_ray.evals import run
from cli_ray.evals.generation import size
from cli_ray.train import checks, trainer
from cli_ray.train.checkpoint import export
from cli_ray.train.checkpoint.files import MARKER, Checkpoint, Progress, name_of
from cli_ray.train.checks import check_start
from cli_ray.train.run_folder import RunFolder
from tests.drill.test_drill import CONFIG


class Stages:
    """Stands in for training, export and evaluation, and counts them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failing = ""

    def train(self, config: Any) -> dict[str, Any]:
        folder = RunFolder(config.folder)
        folder.claim(with_absolute_paths(config))
        if (end := folder.ending()) is not None:
            return end
        self._do("train")
        checkpoint = Checkpoint(progress=Progress(step=30), stream={}, world_size=1, zero_stage=2)
        folder.write(f"{name_of(30)}/{MARKER}", checkpoint.model_dump_json())
        summary = {"step": 30}
        folder.event("end", **summary)
        return summary

    def export(self, run: str, output: Path, step: int, **options: bool) -> str:
        self._do("export")
        output.mkdir()
        return name_of(step)

    def evaluate(self, config: Any) -> SimpleNamespace:
        self._do("evaluate")
        assert (config.limit, config.miniature, config.replica.gpus) == (1, True, 0)
        return SimpleNamespace(table=lambda: "the table")

    def _do(self, stage: str) -> None:
        if stage == self.failing:
            raise RunFailedError("it broke\nbecause of this")
        self.done.append(stage)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    stages = Stages()
    monkeypatch.setattr(checks, "check_start", lambda config, folder: None)
    monkeypatch.setattr(trainer, "train", stages.train)
    monkeypatch.setattr(export, "export", stages.export)
    monkeypatch.setattr(run, "evaluate", stages.evaluate)
    monkeypatch.setattr(cluster, "connect", lambda cpus: None)
    for module in (size, capacity):
        monkeypatch.setattr(module, "node_resources", lambda: [{"CPU": 4.0}])
    monkeypatch.setattr(autoscaler, "version", lambda: 0)
    return stages


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.replace("SHARDS", str(tmp_path / "shards")))
    folders = ["--runs-dir", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]
    return ["pipeline", str(config), *folders, "--limit", "1", "--miniature", "--replica.gpus", "0"]


def test_complete_stages_are_passed_over(
    stages: Stages, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert stages.done == ["train", "export", "evaluate"]
    assert "the table" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "model.json").read_text())["checkpoint"] == name_of(30)
    assert main(words) == 0
    assert stages.done == ["train", "export", "evaluate", "evaluate"]  # which passes over its stored replies itself
    told = capsys.readouterr().out
    assert f"train: {tmp_path / 'runs' / 'tiny'} is complete, 30 steps" in told
    assert f"export: {tmp_path / 'out' / 'model'} is complete, {name_of(30)}" in told


@pytest.mark.parametrize("failing", ["train", "export", "evaluate"])
def test_a_stage_that_failed_is_told_and_done_by_the_next_call(
    failing: str, stages: Stages, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stages.failing = failing
    assert main(words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"error: {failing} failed, the same command goes on there: it broke | because of this"
    stages.failing = ""
    assert main(words) == 0
    assert stages.done == ["train", "export", "evaluate"]


def test_what_is_known_is_said_before_the_training(
    stages: Stages, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, told in (
        (["--benchmarks", "mme2"], "there is no benchmark 'mme2'; did you mean mme"),
        (["--evaluation.benchmarks", "mme2"], "there is no benchmark 'mme2'; did you mean mme"),
        (["--suite", "paper19"], "there is no suite 'paper19'"),
        (["--no-miniature", "--data-root", str(tmp_path / "absent"), "--benchmarks", "pope"], "pope"),
        (["--output", "/proc/x"], "--output /proc/x cannot be written"),
    ):
        assert main([*words, *wrong]) == 1
        assert told in capsys.readouterr().err
    (tmp_path / "out" / "model").mkdir(parents=True)
    assert main(words) == 1
    assert "is not the model of" in capsys.readouterr().err
    assert stages.done == []


def test_what_needs_no_cluster_is_said_before_one_is_joined(
    stages: Stages,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    joined: list[float] = []
    monkeypatch.setattr(checks, "check_start", check_start)
    monkeypatch.setattr(cluster, "connect", joined.append)
    for wrong, told in (
        (["--model.checkpoint", str(tmp_path / "absent")], "absent cannot be read"),
        (["--replica.attention", "flash_attention_2", "--replica.gpus", "1"], "needs the package flash-attn"),
        (["--data.max-length", "4097"], "data.max_length = 4097, the language model has 4096 positions"),
        (["--evaluation.every", "1", "--runs-dir", "mock://runs"], "needs a run folder on a mounted filesystem"),
        (["--injection.decoder-layers.layers", "9"], "decoder_layers: [9] must be distinct indices in"),
    ):
        assert main([*words, *wrong]) == 1
        assert told in capsys.readouterr().err
    assert (stages.done, joined) == ([], [])
    assert main(words) == 0
    assert len(joined) == 1


def test_a_replica_that_no_node_could_hold_is_refused_before_the_training(
    stages: Stages, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--replica.gpus", "1"]) == 1
    assert "no node can hold a replica, which takes replica.gpus = 1" in capsys.readouterr().err
    assert stages.done == []
    monkeypatch.setattr(autoscaler, "version", lambda: 1)  # which does not say whether it has such nodes
    assert main([*words, "--replica.cpus", "8"]) == 0


def test_the_section_of_the_config_says_what_is_evaluated(
    stages: Stages, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def evaluate(config: Any) -> SimpleNamespace:
        seen.append(config)
        return SimpleNamespace(table=lambda: "the table")

    monkeypatch.setattr(run, "evaluate", evaluate)
    config = tmp_path / "run.toml"
    config.write_text(config.read_text() + '[evaluation]\nbenchmarks = ["pope"]\nreplica = { gpus = 0, count = 3 }\n')
    words = [word for word in words if word not in ("--replica.gpus", "0")]
    assert main(words) == 0
    for name, changes in {
        "second": ["--evaluation.profile", "strict", "--evaluation.benchmarks", "mme"],
        "third": ["--evaluation.benchmarks", "mme", "--benchmarks", "gqa", "--replica.count", "2"],
    }.items():
        assert main([*words, *changes, "--name", name, "--output", str(tmp_path / name)]) == 0
    assert [(one.benchmarks, one.reading, one.replica.gpus, one.replica.count, one.limit) for one in seen] == [
        (("pope",), "lmms-eval/0.7.3", 0, 3, 1),
        (("mme",), "strict", 0, 3, 1),
        (("gqa",), "lmms-eval/0.7.3", 0, 2, 1),
    ]


def test_another_config_or_another_run_is_refused(
    stages: Stages, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert main([*words, "--seed", "7"]) == 1
    assert "seed: 0 there, 7 now" in capsys.readouterr().err
    assert main([*words, "--name", "other"]) == 1
    assert "name another --output" in capsys.readouterr().err.splitlines()[-1]
