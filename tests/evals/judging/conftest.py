"""What all tests of judging run under."""

import pytest

from cli_ray.evals.endpoint import client
from cli_ray.evals.judging.judge import KEY_VARIABLE


@pytest.fixture(autouse=True)
def brief_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries, no key of the user, no proxy."""
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
