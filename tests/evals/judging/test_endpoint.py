"""An endpoint is borne with while it may pass, given up when it is not, and lets no key out."""

import logging
from pathlib import Path
from typing import Any

import pytest

from cli_ray.errors import UserError
from cli_ray.evals.judging.judge import (
    KEY_VARIABLE,
    ask_all,
)
from tests.evals.endpoint.chat_server import Answer, serving
from tests.evals.judging.questions import KEY, a_config, a_question, good, kept


def test_a_busy_judge_is_asked_again_when_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.sleep_using_event.__call__", lambda self, seconds: pauses.append(seconds))

    def busy(body: dict[str, Any], number: int) -> Answer:
        return (
            (429, "slow down", {"Retry-After": "7"}) if number == 0 else (503, "", {}) if number == 1 else good(body, 2)
        )

    with serving(busy) as server:
        tally = ask_all(a_config(server.url), [a_question(1)], kept(tmp_path))
    assert (tally.answered, tally.failed, len(server.bodies)) == (1, 0, 3)
    growing, asked_for, growing_again, *_ = pauses
    assert 6 < asked_for < 8
    assert 0 < growing < 1
    assert 0 < growing_again < 1


def test_a_judge_that_wants_a_long_pause_is_not_waited_for(tmp_path: Path) -> None:
    with serving(lambda body, number: (429, "", {"Retry-After": "3600"})) as server:
        tally = ask_all(a_config(server.url), [a_question(1)], kept(tmp_path))
    assert (tally.failed, len(server.bodies)) == (1, 1)
    assert tally.reasons == {"status 429, try again in 3600 s": 1}


def test_a_question_that_is_refused_alone_fails_alone(tmp_path: Path) -> None:
    def too_long(body: dict[str, Any], number: int) -> Answer:
        return (400, "too many tokens", {}) if "3" in body["messages"][0]["content"] else good(body, number)

    with serving(too_long) as server:
        tally = ask_all(a_config(server.url), map(a_question, range(6)), kept(tmp_path))
    assert (tally.answered, tally.failed, len(server.bodies)) == (5, 1, 6)
    assert tally.reasons == {"status 400: too many tokens": 1}


@pytest.mark.parametrize("status", [401, 403, 404, 405, 302])
def test_a_refusal_stops_the_stage_at_once(tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with serving(lambda body, number: (status, f"no such key: {KEY}", {})) as server:
        with pytest.raises(UserError, match=f"'grader' at {server.url}.*status {status}.*{KEY_VARIABLE}") as caught:
            ask_all(a_config(server.url), map(a_question, range(100)), kept(tmp_path))
        assert len(server.bodies) <= 4
    assert KEY not in str(caught.value)


def test_the_key_is_sent_and_gets_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)

    def echo(body: dict[str, Any], number: int) -> Answer:
        return (400, f"Bearer {KEY}", {}) if number == 0 else (200, f"answer {KEY}", {})

    with serving(echo) as server:
        tally = ask_all(a_config(server.url, concurrency=1), map(a_question, range(2)), kept(tmp_path))
    assert server.keys == [f"Bearer {KEY}"] * 2
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "answer ***" in written
    for text in (written, caplog.text, repr(tally), str(tally.reasons)):
        assert KEY not in text


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\nbreak"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(UserError, match=KEY_VARIABLE) as caught:
        ask_all(a_config("http://127.0.0.1:9/v1"), [a_question(1)], kept(tmp_path))
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://host/v1", "", "http://host:port/v1"])
def test_an_address_that_is_none_is_reported(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"judge\.base_url"):
        ask_all(a_config(url), [a_question(1)], kept(tmp_path))
