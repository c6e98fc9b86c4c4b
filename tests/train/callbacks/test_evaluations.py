"""Checkpoints that are evaluated while a run trains."""

import json
import threading
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cli_ray.config import EvaluationConfig, RunConfig
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.errors import UserError
from cli_ray.train import evaluator
from cli_ray.train.callbacks.evaluations import awaited, is_due, join_results, name_of
from cli_ray.train.checkpoint.files import Checkpoint, Progress, complete_checkpoints
from cli_ray.train.evaluator import Evaluator
from cli_ray.train.run_folder import RunFolder
from cli_ray.train.trainer import train
from tests.evals.own.pictures import LETTERS, write_toml, write_tsv
from tests.said import said
from tests.train.callbacks.tracked_runs import tensorboard_of


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
            "log": {"sinks": ["tensorboard"]},
            "evaluation": {"replica": {"gpus": 0, "count": 1, "dtype": "fp32"}, **evaluation},
        }
    )


@pytest.mark.slow
def test_every_nth_checkpoint_is_evaluated_and_joins_the_metrics(cluster: None, tmp_path: Path) -> None:
    write_tar(synthesize(8, seed=0, split="train"), tmp_path / "data", shard_size=8)
    config = config_of(tmp_path, every=2, benchmarks=("pope", "chartqa"), miniature=True)

    # As Ray Tune places the driver of a trial.
    group = placement_group([{"memory": 1 << 20}])
    inside = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    driver = ray.remote(train).options(num_cpus=0, memory=1 << 20, scheduling_strategy=inside)
    assert ray.get(driver.remote(config))["step"] == 4
    remove_placement_group(group)

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
    tracked = tensorboard_of(run)
    assert sorted(event.step for event in tracked.Scalars("eval/pope")) == [2, 4]
    assert [event.step for event in tracked.Scalars("loss")] == [1, 2, 3, 4]
    assert {event.step for event in tracked.Images("gates/gate_mean")} == {1, 4}


@pytest.mark.slow
def test_checkpoints_are_evaluated_on_own_benchmarks(cluster: None, tmp_path: Path) -> None:
    write_tar(synthesize(8, seed=0, split="train"), tmp_path / "data", shard_size=8)
    write_tsv(tmp_path)
    train(config_of(tmp_path, every=4, benchmark_file=(write_toml(tmp_path, LETTERS),)))
    output = tmp_path / "runs/run/evals/step-00000004"
    (row,) = json.loads((output / "results.json").read_text())["rows"]
    assert (row["benchmark"], row["n_scored"]) == ("colours", 6)
    assert (output / "benchmarks/colours.toml").exists()


def test_an_own_benchmark_that_is_not_there_ends_a_training_before_it_begins(tmp_path: Path) -> None:
    config = config_of(tmp_path, every=2, benchmark_file=(str(tmp_path / "no.toml"),))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        Evaluator(config, RunFolder(config.folder))


class Evaluations:
    """Evaluates at once and without a model."""

    def __init__(self) -> None:
        self.made: list[tuple[str, bool, bool]] = []
        """(output, live, spare_only) of each."""
        self.refused = ""
        """An output for which there is an error."""

    def __call__(self, config: EvaluationConfig, *, live: bool, spare_only: bool) -> None:
        output = Path(config.output)
        if output.name == self.refused:
            raise UserError("no room")
        self.made.append((output.name, live, spare_only))
        row = {"benchmark": "pope", "value": 50.0, "standard_error": 1.0}
        (output / "results.json").write_text(json.dumps({"rows": [row]}))


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    """What the evaluator calls."""
    evaluations = Evaluations()
    monkeypatch.setattr(evaluator, "POLL_S", 0.01)
    monkeypatch.setattr(evaluator, "evaluate", evaluations)
    return evaluations


def run_of(folder: Path, steps: tuple[int, ...]) -> tuple[RunConfig, RunFolder]:
    """A run with checkpoints, the models of which are exported already."""
    config = config_of(folder, every=2, benchmarks=("pope",), miniature=True)
    run = RunFolder(config.folder)
    for step in steps:
        checkpoint = Checkpoint(progress=Progress(step=step), stream={}, world_size=1, zero_stage=0)
        run.write(f"{checkpoint.name}/progress.json", checkpoint.model_dump_json())
        Path(run.join(f"{name_of(step)}/model")).mkdir(parents=True)
    return config, run


def lines_of(run: RunFolder, name: str) -> list[dict[str, object]]:
    """The lines of a file of JSON lines."""
    return [json.loads(line) for line in (run.read(name) or "").splitlines()]


def test_it_takes_only_what_training_leaves_and_shows_no_table(tmp_path: Path, evaluations: Evaluations) -> None:
    config, run = run_of(tmp_path, (2, 3))
    with Evaluator(config, run):
        pass
    assert evaluations.made == [("step-00000002", False, True), ("step-00000003", False, True)]
    assert [line["step"] for line in lines_of(run, "metrics.jsonl")] == [2, 3]


def test_a_checkpoint_that_is_deleted_meanwhile_does_not_end_the_evaluations(
    tmp_path: Path, evaluations: Evaluations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = run_of(tmp_path, (2,))
    looks = []
    failed_twice = threading.Event()

    def complete(folder: RunFolder) -> list[Checkpoint]:
        looks.append(folder)
        if len(looks) <= 2:
            raise FileNotFoundError("step-1 is gone")
        failed_twice.set()
        return complete_checkpoints(folder)

    monkeypatch.setattr(evaluator, "complete_checkpoints", complete)
    with Evaluator(config, run):
        assert failed_twice.wait(10)
    assert [name for name, *_ in evaluations.made] == ["step-00000002"]
    assert [line["step"] for line in lines_of(run, "metrics.jsonl")] == [2]
    assert capsys.readouterr().out.count("FileNotFoundError: step-1 is gone") == 1


def test_checkpoints_that_cannot_be_looked_up_at_the_end_are_told(
    tmp_path: Path, evaluations: Evaluations, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = run_of(tmp_path, (2,))
    with Evaluator(config, run):
        monkeypatch.setattr(evaluator, "complete_checkpoints", lambda folder: run.fs.open_input_stream("/absent"))
    assert lines_of(run, "events.jsonl")[-1]["event"] == "evaluation failed"


def test_a_failed_evaluation_is_told_and_the_others_join_the_metrics(
    tmp_path: Path, evaluations: Evaluations, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = run_of(tmp_path, (2, 4))
    evaluations.refused = "step-00000002"
    with Evaluator(config, run):
        pass
    events = lines_of(run, "events.jsonl")
    assert all(str(event.pop("time")).endswith("+00:00") for event in events)
    assert 0 <= float(str(events[-1].pop("seconds"))) < 60
    assert events == [
        {"event": "evaluation started", "step": 2},
        {"event": "evaluation failed", "step": 2, "reason": "no room"},
        {"event": "evaluation started", "step": 4},
        {"event": "evaluation", "step": 4, "path": name_of(4), "scores": {"pope": 50.0}},
    ]
    assert [line.split(", took")[0] for line in said(capsys.readouterr().out)] == [
        "evaluation of step 2 started",
        "evaluation of step 2 failed: no room",
        "evaluation of step 4 started",
        "evaluation of step 4: pope 50.00",
    ]
    assert [(line["step"], "time" in line) for line in lines_of(run, "metrics.jsonl")] == [(4, True)]


def test_a_training_that_failed_waits_for_no_evaluation(tmp_path: Path, evaluations: Evaluations) -> None:
    config, run = run_of(tmp_path, ())
    with pytest.raises(RuntimeError, match="training is over"), Evaluator(config, run):
        raise RuntimeError("training is over")
    assert run.read("metrics.jsonl") is None


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
    assert lines[1].pop("time").endswith("+00:00")
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
