import pytest

from cli_ray.commands import drill
from cli_ray.commands.main import main
from cli_ray.config import RunConfig
from cli_ray.config.load import split
from cli_ray.drill.outcome import Difference, Outcome, SampleCounts
from cli_ray.drill.plan import Kill

KILL = Kill(kind="node", moment="step", step=7, due=12, delay_s=0.1, draw=0.5, back_by=19)


WHOLE = SampleCounts(twice=0, missing=0)


def outcome(difference: Difference, exit_code: int | None = 0, samples: SampleCounts | None = WHOLE) -> Outcome:
    return Outcome(KILL, 8, 2, 21.5, 60.25, difference, samples, exit_code, fault="")


def test_arguments_with_a_dot_change_the_config() -> None:
    own, overrides = split(
        ["--kill", "node", "driver", "--train.max-steps", "20", "--times=2", "--checkpoint.every=5", "--seed", "1"]
    )
    assert own == ["--kill", "node", "driver", "--times=2", "--seed", "1"]
    assert overrides == ["--train.max-steps", "20", "--checkpoint.every=5"]


def test_trackers_and_evaluations_are_left_out_of_a_drill() -> None:
    values = {
        "name": "run",
        "model": {"checkpoint": "tiny"},
        "data": {"sources": [{"path": "shards"}]},
        "optim": {"llm": {"lr": 1e-3}},
    }
    assert drill.aside(RunConfig.model_validate(values)) == ["--cluster.cpus-per-worker", "1"]
    bothered = RunConfig.model_validate(values | {"log": {"sinks": ["wandb"]}, "evaluation": {"every": 2}})
    assert drill.aside(bothered)[2:] == ["--evaluation.every", "0", "--log.sinks"]


def test_a_run_is_sound_only_when_it_ended_well_with_the_same_losses_and_samples() -> None:
    same = Difference(0.0, None, (), ())
    assert outcome(same).sound
    assert outcome(same, samples=None).sound
    assert not outcome(same, samples=SampleCounts(twice=1, missing=0)).sound
    assert not outcome(same, samples=SampleCounts(twice=0, missing=1)).sound
    assert not outcome(same, exit_code=1).sound
    assert not outcome(same, exit_code=None).sound
    assert not outcome(Difference(1e-9, 3, (), ())).sound
    assert not outcome(Difference(0.0, None, (3,), ())).sound
    assert not outcome(Difference(0.0, None, (), (3,))).sound


def test_the_line_of_a_kill_says_what_differs() -> None:
    line = drill.cells(outcome(Difference(0.125, 9, (3, 4), (5,)), exit_code=None))
    assert line[:6] == ["node", "step", "8", "2", "21.5 s", "60.2 s"]
    assert line[6:] == ["0.125 at step 9, 2 steps missing, 1 steps twice", "0", "0", "hung"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a config first"),
        (["run.toml", "--times", "0"], "--times: must be greater than or equal to 1"),
        (["run.toml", "--nodes", "2"], "--nodes: must be greater than or equal to 3"),
        (["absent.toml"], "absent.toml: no such file"),
    ],
)
def test_wrong_usage_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", *words]) == 1
    assert message in capsys.readouterr().err
