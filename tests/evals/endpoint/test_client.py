"""The client keeps to what an endpoint asks for, and bears what it must not send."""

import threading
from typing import Any

import pytest

from cli_ray.config import EndpointConfig
from cli_ray.evals.endpoint import client
from cli_ray.evals.endpoint.client import Endpoint, UnansweredError
from cli_ray.evals.endpoint.role import Role
from tests.evals.endpoint.chat_server import Answer, serving

ROLE = Role("model", "endpoint.base_url", "model", "KEY_OF_A_TEST")
CHAT = ({"role": "user", "content": "hello"},)


def endpoint_of(url: str, **settings: Any) -> Endpoint:
    return Endpoint(ROLE, "m", EndpointConfig(base_url=url, **settings), threading.Event())


def test_a_pause_that_is_asked_of_one_question_holds_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.sleep_using_event.__call__", lambda self, seconds: pauses.append(seconds))

    def busy(body: dict[str, Any], number: int) -> Answer:
        return (429, "", {"Retry-After": "60"}) if number == 0 else (200, "hello", {})

    with serving(busy) as server, endpoint_of(server.url, attempts=1) as endpoint:
        with pytest.raises(UnansweredError, match="status 429"):
            endpoint.complete(CHAT, 8, 0.0)
        assert endpoint.complete(CHAT, 8, 0.0).text == "hello"
    assert [round(pause, -1) for pause in pauses] == [60]


def test_a_body_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BODY_BYTES", 1000)
    with serving(lambda body, number: (200, "x" * 2000, {})) as server, endpoint_of(server.url, attempts=2) as endpoint:
        with pytest.raises(UnansweredError, match="status 200 with more than 1,000 bytes") as caught:
            endpoint.complete(CHAT, 8, 0.0)
        assert (caught.value.attempts, len(server.bodies)) == (2, 2)


@pytest.mark.parametrize(("key", "reply"), [("EMPTY", "EMPTY"), ("sk-0123456789", "***")])
def test_a_key_is_taken_out_of_replies_and_a_word_is_not(monkeypatch: pytest.MonkeyPatch, key: str, reply: str) -> None:
    monkeypatch.setenv(ROLE.key_variable, key)
    with serving(lambda body, number: (200, key, {})) as server, endpoint_of(server.url) as endpoint:
        answer = endpoint.complete(CHAT, 8, 0.0)
        assert (answer.text, answer.attempts) == (reply, 1)
        assert server.keys == [f"Bearer {key}"]
