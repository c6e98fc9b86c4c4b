"""What a sweep says of its trials."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cli_ray.config import SweepConfig
from cli_ray.train.run_folder import RunFolder
from cli_ray.tune import console
from cli_ray.tune.console import Console
from tests.said import said


def test_what_troubles_a_running_trial_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "LOOK_S", 0.0)
    sweep = SweepConfig(name="a", base="run.toml", arms={"as it is": {}})
    told = Console(sweep, str(tmp_path))
    runs = {name: RunFolder(str(tmp_path / name)) for name in ("aa", "bb")}
    (tmp_path / "index.json").write_text("{}")
    runs["aa"].event("waiting", reason="before this start")
    told.setup()
    trials = [SimpleNamespace(trial_id="aa", status="RUNNING"), SimpleNamespace(trial_id="bb", status="TERMINATED")]
    runs["aa"].event("checkpoint", step=3, path="checkpoints/step-00000003")
    runs["aa"].event("waiting", reason="no worker has begun for 60 s")
    runs["aa"].event("checkpoint failed", step=6, path="checkpoints/step-00000006", reason="no space")
    runs["bb"].event("waiting", reason="of a trial that is over")
    for iteration in range(2):
        told.on_step_end(iteration, trials)
    assert said(capsys.readouterr().out) == [
        "trial aa: no worker has begun for 60 s",
        "trial aa: checkpoint failed, checkpoints/step-00000006: no space",
    ]
