"""A trial: its run folder, and how it ends when it is not wanted or its sweep is stopped."""

import errno
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cli_ray.config import InjectionConfig, RunConfig, SweepConfig
from cli_ray.errors import ClusterError, RunFailedError, StoppedError, StorageError
from cli_ray.model.build import build_model
from cli_ray.train.checkpoint.files import Checkpoint, Progress, complete_checkpoints, name_of
from cli_ray.train.run_folder import RunFolder
from cli_ray.tune import trial
from cli_ray.tune.trial import OUTCOME, STOP, Trial, added_parameters, fork


@pytest.fixture
def donor(tmp_path: Path) -> RunFolder:
    """A run with the checkpoints of steps 4 and 6."""
    folder = RunFolder(str(tmp_path / "donor"))
    for step in (4, 6):
        one = Checkpoint(progress=Progress(step=step), stream={"lanes": 1}, world_size=1, zero_stage=2)
        folder.write(f"{name_of(step)}/deepspeed/weights.pt", f"weights of step {step}")
        folder.write(f"{name_of(step)}/progress.json", one.model_dump_json())
    folder.append("metrics.jsonl", [f'{{"step": {step}}}' for step in range(1, 9)])
    folder.write("index.json", "the index")
    folder.write("config.json", "of the donor alone")
    return folder


@pytest.mark.parametrize(("asked", "given"), [(4, 4), (6, 6), (2, 6)])
def test_a_fork_begins_with_the_checkpoint_or_the_newest_where_it_is_gone(
    donor: RunFolder, tmp_path: Path, asked: int, given: int
) -> None:
    run = RunFolder(str(tmp_path / "run"))
    fork(donor, run, asked)
    assert [one.progress.step for one in complete_checkpoints(run)] == [given]
    assert run.read(f"{name_of(given)}/deepspeed/weights.pt") == f"weights of step {given}"
    assert run.read("index.json") == "the index"
    assert (run.read("metrics.jsonl") or "").splitlines()[-1] == f'{{"step": {given}}}'
    assert not run.exists("config.json")


@pytest.mark.parametrize("kind", ["cli", "amp_only", "none", "external"])
def test_added_parameters_are_those_of_the_model_that_is_built(kind: str) -> None:
    values = {
        "name": "a",
        "model": {"checkpoint": "tiny"},
        "data": {"sources": [{"path": "x"}]},
        "injection": {"kind": kind, "vision_layers": [2, 4], "decoder_layers": [0, 2]},
        "optim": {"llm": {"lr": 1e-3}},
    }
    config = RunConfig.model_validate(values)

    def size(injection: InjectionConfig) -> int:
        model = build_model(config.model, injection, config.lora, dtype=torch.float32, seed=0)
        return sum(one.numel() for one in model.parameters())

    assert added_parameters(config) == size(config.injection) - size(InjectionConfig(kind="none"))


def trial_in(runs: Path) -> Trial:
    """A trial without what Ray Tune would set up around it."""
    base = RunConfig.model_validate(
        {
            "name": "a",
            "runs_dir": str(runs),
            "model": {"checkpoint": "tiny"},
            "data": {"sources": [{"path": "x"}]},
            "injection": {"vision_layers": [2, 4], "decoder_layers": [0, 2]},
            "optim": {"llm": {"lr": 1e-3}},
        }
    )
    sweep = SweepConfig.model_validate({"name": "s", "base": "run.toml", "space": {"seed": [0, 1]}, "search": "grid"})
    one = Trial.__new__(Trial)
    one._trial_info = None
    one.setup({"seed": 0}, base.model_dump(mode="json"), sweep.model_dump(mode="json"))
    return one


@pytest.fixture
def under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Trial, list[str]]:
    """A trial whose run goes on until it is told to end, and how that run ended."""
    ends: list[str] = []

    def train(config: RunConfig, check: Callable[[], signal.Signals | None]) -> None:
        while True:
            try:
                number = check()
            except Exception:
                ends.append("at once")
                raise
            if number is not None:
                ends.append(f"after a checkpoint, by {number.name}")
                raise StoppedError(number, "stopped")
            time.sleep(0.001)

    monkeypatch.setattr(trial, "train", train)
    monkeypatch.setattr(trial, "POLL_S", 0.001)
    one = trial_in(tmp_path)
    RunFolder(str(tmp_path / one.trial_id)).append("metrics.jsonl", [json.dumps({"step": 4, "validation_loss": 0.5})])
    assert one.step()["step"] == 4
    return one, ends


def test_a_trial_that_is_not_wanted_ends_at_once(under_way: tuple[Trial, list[str]]) -> None:
    one, ends = under_way
    one.cleanup()
    assert ends == ["at once"]


def test_a_trial_whose_sweep_is_stopped_ends_after_a_checkpoint_and_goes_on_later(
    under_way: tuple[Trial, list[str]], tmp_path: Path
) -> None:
    one, ends = under_way
    (tmp_path / STOP).write_text(json.dumps({"signal": "SIGTERM"}))
    report: dict[str, Any] = one.step()
    one.cleanup()
    assert ends == ["after a checkpoint, by SIGTERM"]
    assert (report["state"], report["done"]) == ("running", False)
    assert not (tmp_path / one.trial_id / OUTCOME).exists()


def test_a_trial_that_takes_a_process_over_ends_the_run_before_it(under_way: tuple[Trial, list[str]]) -> None:
    one, ends = under_way
    assert one.reset_config({"seed": 1})
    assert ends == ["at once"]
    assert one._config().seed == 1
    report: dict[str, Any] = one.step()
    assert (report["step"], report["state"]) == (4, "running"), "its run has begun"
    one.cleanup()
    assert ends == ["at once"] * 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StorageError("the last checkpoint could not be written"), "the last checkpoint could not be written"),
        (
            OSError(errno.ENOSPC, "full", "/runs/a"),
            "/runs/a: No space left on device; make room, then the same command",
        ),
    ],
    ids=["of a run", "of its driver"],
)
def test_a_trial_that_cannot_write_halts_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(trial, "train", raising(error))
    report: dict[str, Any] = trial_in(tmp_path).step()
    assert (report["state"], report["done"]) == ("halted", False)
    assert report["reason"].startswith(reason)
    monkeypatch.setattr(trial, "train", lambda config, check: None)
    assert trial_in(tmp_path).step()["state"] == "finished"


def test_only_a_fault_of_its_own_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "train", raising(ClusterError("workers died too often")))
    with pytest.raises(ClusterError, match="workers died too often"):  # and Ray Tune tries again
        trial_in(tmp_path).step()
    monkeypatch.setattr(trial, "train", raising(RunFailedError("the gradient of step 2 is not finite")))
    for _ in range(2):
        report = trial_in(tmp_path).step()
        assert (report["state"], report["reason"]) == ("failed", "the gradient of step 2 is not finite")
        monkeypatch.setattr(trial, "train", lambda config, check: None)  # it is not called


def raising(error: Exception) -> Callable[..., None]:
    """A training that fails."""

    def train(config: RunConfig, check: Callable[[], signal.Signals | None]) -> None:
        raise error

    return train
