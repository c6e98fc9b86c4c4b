"""What a driver makes of what Ray Train returns or raises."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError

from cli_ray.config import ClusterConfig, DataConfig, ModelConfig, RunConfig, SourceConfig
from cli_ray.errors import RunFailedError
from cli_ray.train.health import restarts
from cli_ray.train.health.restarts import Launch
from cli_ray.train.run_folder import RunFolder

DATA = DataConfig(sources=(SourceConfig(path="x"),))
CONFIG = RunConfig(name="a", model=ModelConfig(checkpoint="tiny"), data=DATA, cluster=ClusterConfig(max_failures=2))
DIED = ControllerError(ActorDiedError())
Fit = Callable[..., dict[str, Any]]


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """What `fit` comes to when Ray Train's fits come to these in turn."""

    def of(*turns: Any) -> dict[str, Any]:
        remaining = iter(turns)

        def one() -> Any:
            turn = next(remaining)
            if isinstance(turn, Exception):
                raise turn
            return SimpleNamespace(return_value=turn)

        monkeypatch.setattr(restarts, "start_controller", lambda backstop_s: None)
        monkeypatch.setattr(restarts, "ray_trainer", lambda *_: SimpleNamespace(fit=one))
        return Launch(CONFIG, RunFolder(str(tmp_path)), "controller").fit()

    return of


def test_a_preempted_run_goes_on_and_a_stopped_one_does_not(outcome: Fit) -> None:
    assert outcome({"step": 3, "pause": "preempted"}, {"step": 9, "pause": None})["step"] == 9
    assert outcome({"step": 3, "pause": "stopped"})["step"] == 3
    assert outcome({"error": "as told"}) == {"error": "as told"}


def test_workers_that_die_at_their_start_are_started_again_a_few_times(outcome: Fit) -> None:
    assert outcome(DIED, DIED, {"step": 9}) == {"step": 9}
    assert outcome(ControllerError(WorkerGroupStartupFailedError()), {"step": 9}) == {"step": 9}
    with pytest.raises(RunFailedError, match=r"died at their start more often than cluster\.max_failures = 2 allows"):
        outcome(DIED, DIED, DIED)


def test_a_controller_that_dies_is_a_lost_run_like_others(outcome: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(ActorDiedError(), DIED, {"step": 9}) == {"step": 9}
    assert "Ray Train's controller died (for memory, or with its node): starting" in capsys.readouterr().out
    with pytest.raises(RunFailedError, match=r"controller died more often than cluster\.max_failures = 2 allows"):
        outcome(ActorDiedError(), ActorDiedError(), ActorDiedError())


def test_a_controller_that_the_driver_ended_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Launch(CONFIG, RunFolder(str(tmp_path)), "controller")

    def fit() -> Any:
        run.abort()
        raise ActorDiedError

    trainer = SimpleNamespace(fit=fit, abort=lambda: None)
    monkeypatch.setattr(restarts, "ray_trainer", lambda *_: trainer)
    with pytest.raises(ActorDiedError):
        run.fit()


def test_workers_without_room_are_waited_for(outcome: Fit) -> None:
    """For as long as the supervisor allows it."""
    assert outcome(*[ControllerError(WorkerGroupStartupTimeoutError(2))] * 9, {"step": 9}) == {"step": 9}


def test_what_ray_train_gave_up_is_told_in_few_lines(outcome: Fit) -> None:
    with pytest.raises(RunFailedError, match=r"max_failures = 2 allows, the last time with:\n  rank 1: it is gone"):
        outcome(WorkerGroupError("", {1: RuntimeError("long\ntrace\nit is gone")}))
    with pytest.raises(RunFailedError, match=r"the workers could not be started: a mistake"):
        outcome(ControllerError(ValueError("a mistake")))
