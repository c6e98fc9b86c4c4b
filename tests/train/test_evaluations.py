"""Checkpoints that are evaluated while a run trains."""

import json
from pathlib import Path

import pytest

from cli_ray.config import RunConfig
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.errors import UserError
from cli_ray.train.evaluations import awaited, is_due, join_results, name_of
from cli_ray.train.evaluator import Evaluator
from cli_ray.train.folder import RunFolder
from cli_ray.train.trainer import train


def config_of(folder: Path, **evaluation: object) -> RunConfig:
    """Four steps with a checkpoint after each, of which only the newest is kept."""
    return RunConfig.model_validate(
        {
            "name": "run",
            "runs_dir": str(folder / "runs"),
            "model": {"checkpoint": "tiny"},
            "injection": {"vision_layers": {"count": 2}, "decoder_layers": {"count": 2}},
            "data": {"sources": [{"path": str(folder / "data")}], "max_length": 256},
            "train": {"global_batch_size": 4, "micro_batch_size": 4, "epochs": 2, "precision": "fp32"},
            "checkpoint": {"every": 1, "keep_last": 1},
            "cluster": {"gpus_per_worker": 0},
            "evaluation": {"replica": {"gpus": 0, "count": 1, "dtype": "fp32"}, **evaluation},
        }
    )


def test_every_nth_checkpoint_is_evaluated_and_joins_the_metrics(cluster: None, tmp_path: Path) -> None:
    write_tar(synthesize(8, seed=0, split="train"), tmp_path / "data", shard_size=8)
    config = config_of(tmp_path, every=2, benchmarks=("pope", "chartqa"), miniature=True)

    assert train(config)["step"] == 4

    run = tmp_path / "runs/run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    evaluated = {line["step"]: line for line in lines if "evaluated" in line}
    assert evaluated.keys() == {2, 4}
    for step, line in evaluated.items():
        rows = json.loads((run / f"evals/step-0000000{step}/results.json").read_text())["rows"]
        assert {row["benchmark"]: row["n_scored"] for row in rows} == {"pope": 6, "chartqa": 6}
        for row in rows:
            name = f"eval/{row['benchmark']}"
            assert (line[name], line[f"{name}_se"]) == (row["value"], row["standard_error"])
        assert not (run / f"evals/step-0000000{step}/model").exists()
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert sorted(event["step"] for event in events if event["event"] == "evaluation") == [2, 4]


def test_due_are_every_nth_checkpoint(tmp_path: Path) -> None:
    config = config_of(tmp_path, every=2).model_copy(
        update={"checkpoint": config_of(tmp_path).checkpoint.model_copy(update={"every": 10})}
    )
    assert [step for step in range(1, 50) if is_due(step, config)] == [20, 40]
    assert not any(is_due(step, config_of(tmp_path)) for step in range(1, 50))


def test_a_due_checkpoint_is_kept_until_it_is_exported(tmp_path: Path) -> None:
    config, folder = config_of(tmp_path, every=2), RunFolder(str(tmp_path / "run"))
    assert awaited(2, config, folder)
    assert not awaited(3, config, folder)
    (tmp_path / "run" / name_of(2) / "model").mkdir(parents=True)
    assert not awaited(2, config, folder)


def test_results_are_joined_once(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    row = {"benchmark": "pope", "value": 81.5, "standard_error": 0.5}
    folder.write(f"{name_of(20)}/results.json", json.dumps({"rows": [row]}))
    folder.write(f"{name_of(40)}/results.json", json.dumps({"rows": []}))
    folder.write(f"{name_of(20)}/complete", "")
    folder.append("metrics.jsonl", [json.dumps({"step": 20, "loss": 1.0})])

    join_results(folder)
    join_results(folder)

    lines = [json.loads(line) for line in (folder.read("metrics.jsonl") or "").splitlines()]
    assert lines[1:] == [{"step": 20, "evaluated": True, "eval/pope": 81.5, "eval/pope_se": 0.5}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmarks": ("pop",), "miniature": True}, "no benchmark 'pop'; did you mean pope"),
        ({"benchmarks": ("pope",), "data_root": "/absent"}, "pope: no folder /absent/pope"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_training(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    config = config_of(tmp_path, every=1, **changes)
    with pytest.raises(UserError, match=message):
        Evaluator(config, RunFolder(config.folder))


def test_evaluation_needs_a_mounted_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation.every = 1 needs a run folder on a mounted filesystem"):
        Evaluator(config_of(tmp_path, every=1, miniature=True), RunFolder("mock://runs/run"))
