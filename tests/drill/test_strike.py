"""What a drill reports of a kill, with a run that counts its steps by itself."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cli_ray.drill import kill
from cli_ray.drill.kill import Strike
from cli_ray.drill.plan import Kill

STEPS, KILLED, LATE = 30, 12, 2


class CountingJob:
    """Logs a step at each look, and starts again where `restarts` says, some steps after the kill."""

    def __init__(self, restarts_from: int | None) -> None:
        self.files = SimpleNamespace(step=0, starts=[0])
        self.restarts_from = restarts_from

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.files.step += 1
            if self.files.step == KILLED + LATE and self.restarts_from is not None:
                self.files.starts.append(self.restarts_from)

    def ended(self) -> bool:
        return bool(self.files.step >= STEPS)


@pytest.mark.parametrize(("restarts_from", "redone"), [(None, 0), (10, 3)])
def test_the_step_of_a_kill_is_that_of_its_moment(
    restarts_from: int | None, redone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run feels nothing of it and goes on to its end."""
    monkeypatch.setattr(kill, "kill_now", lambda *arguments: 0.0)
    job: Any = CountingJob(restarts_from)
    strike = Strike(Kill("datasets", "step", KILLED, 20, 0.0, 0.5, 29), job, site=None)  # type: ignore[arg-type]
    strike.deal()
    assert (strike.step, strike.redone) == (KILLED, redone)
    assert (strike.recovery_s is None) == (restarts_from is None)
