"""What all tests of evaluations run under."""

import pytest

from cli_ray.evals.endpoint import client
from cli_ray.evals.generation.api import KEY_VARIABLE as MODEL_KEY
from cli_ray.evals.judging.judge import KEY_VARIABLE as JUDGE_KEY


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints are asked without pauses between tries, a key of the user, or a proxy."""
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(JUDGE_KEY, raising=False)
    monkeypatch.delenv(MODEL_KEY, raising=False)
