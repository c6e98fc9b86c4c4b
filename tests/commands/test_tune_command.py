"""What `cli-ray tune` ends with."""

from pathlib import Path

import pytest

from cli_ray.commands.main import main
from cli_ray.tune import sweep
from cli_ray.tune.results import State, TrialResult

RUN = 'name = "base"\n[model]\ncheckpoint = "tiny"\n[[data.sources]]\npath = "x"\n'
SWEEP = 'name = "s"\nbase = "run.toml"\nobjectives = ["eval/pope"]\nscheduler = "none"\n[space]\nseed = [0, 1]\n'


def result(state: State, reason: str = "", **values: float) -> TrialResult:
    scores = {f"eval/{name}": value for name, value in values.items()}
    return TrialResult(trial="a1", state=state, step=4, values=scores, draw={"seed": 0}, reason=reason)


@pytest.mark.parametrize(
    ("results", "code", "said"),
    [
        ([result("finished", pope=50.0), result("failed", "it broke")], 0, "next: cli-ray train"),
        ([result("failed", "it broke")], 1, "no trial of FOLDER/s finished with a score: it broke"),
        ([result("finished")], 1, "eval/pope was not measured, which events.jsonl of its run explains"),
    ],
    ids=["best", "failed", "unmeasured"],
)
def test_a_sweep_without_a_score_fails_with_its_reason(
    results: list[TrialResult],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    monkeypatch.setattr(sweep, "sweep", lambda config, base: results)
    assert main(["tune", str(tmp_path / "sweep.toml"), "--sweeps-dir", str(tmp_path)]) == code
    told = capsys.readouterr()
    assert said.replace("FOLDER", str(tmp_path)) in (told.out if code == 0 else told.err).splitlines()[-1]
