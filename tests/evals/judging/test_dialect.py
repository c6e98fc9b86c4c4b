"""What endpoints refuse is learnt or shown in a line, and never with a key."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_ray.config.evaluation import JudgeConfig
from cli_ray.errors import UserError
from cli_ray.evals.endpoint.refusal import masked, message_of
from cli_ray.evals.judging.judge import KEY_VARIABLE, Tally, ask_all
from cli_ray.evals.judging.verdicts import Verdicts
from cli_ray.storage.folder import Folder
from tests.evals.endpoint.chat_server import Answer, serving
from tests.evals.judging.questions import KEY, a_question, good


def asked(folder: Path, url: str, questions: int, **settings: Any) -> Tally:
    """A judge stage."""
    config = {"model": "grader", "base_url": url, "concurrency": 1, "attempts": 1} | settings
    verdicts = Verdicts(Folder(str(folder)), "grader")
    return ask_all(JudgeConfig.model_validate(config), map(a_question, range(questions)), verdicts)


def refusing(field: str, message: str) -> Any:
    """An endpoint that refuses a field of the request, as a model of OpenAI that reasons does."""

    def behave(body: dict[str, Any], number: int) -> Answer:
        error = {"message": message, "type": "invalid_request_error", "param": field, "code": "unsupported_parameter"}
        return (400, {"error": error}, {}) if field in body else good(body, number)

    return behave


MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
)


def test_a_refused_name_is_learnt_once(tmp_path: Path) -> None:
    with serving(refusing("max_tokens", MAX_TOKENS)) as server:
        tally = asked(tmp_path, server.url, 5)
    assert (tally.answered, len(server.bodies)) == (5, 1 + 5)
    assert all(body["max_completion_tokens"] == 16 and body["temperature"] == 0 for body in server.bodies[1:])


def test_a_refused_temperature_is_learnt_once_and_recorded(tmp_path: Path) -> None:
    with serving(refusing("temperature", TEMPERATURE)) as server:
        assert asked(tmp_path, server.url, 5).answered == 5
    assert len(server.bodies) == 1 + 5
    assert all("temperature" not in body for body in server.bodies[1:])
    rows = [json.loads(line) for line in (tmp_path / "judge" / "verdicts.jsonl").read_text().splitlines()]
    assert [row["decoding"] for row in rows] == [{"max_tokens": 16}] * 5
    assert Verdicts(Folder(str(tmp_path)), "grader").drawn("set") == "default temperature"


def test_nonsense_that_was_drawn_is_asked_again(tmp_path: Path) -> None:
    def moody(body: dict[str, Any], number: int) -> Answer:
        if number in (1, 2):
            return 200, "well", {}
        answer: Answer = refusing("temperature", TEMPERATURE)(body, number)
        return answer

    with serving(moody) as server:
        assert asked(tmp_path, server.url, 1, attempts=3).answered == 1


def test_both_are_learnt_one_after_the_other_by_many_threads(tmp_path: Path) -> None:
    def both(body: dict[str, Any], number: int) -> Answer:
        extra = [name for name in ("max_tokens", "temperature") if name in body]
        faults = [{"loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in extra]
        return (422, {"detail": faults}, {}) if faults else good(body, number)

    with serving(both) as server:
        assert asked(tmp_path, server.url, 40, concurrency=8).answered == 40
    assert len(server.bodies) <= 40 + 2 * 8


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' is too large: 16. This model's maximum context length is 8 tokens; longer is not supported.",
        "the prompt is not allowed",
        "'max_completion_tokens' is unsupported",
    ],
)
def test_other_refusals_are_shown_and_not_tried_again(tmp_path: Path, message: str) -> None:
    with serving(lambda body, number: (400, {"error": {"message": message}}, {})) as server:
        tally = asked(tmp_path, server.url, 1)
    assert len(server.bodies) == 1
    assert tally.reasons == {f"status 400: {message}": 1}


def test_the_body_of_a_failure_is_shown_and_equal_ones_are_counted_together(tmp_path: Path) -> None:
    def failing(body: dict[str, Any], number: int) -> Answer:
        return 500, {"error": {"message": f"no GPU is left (request req_{number:032x})"}}, {}

    with serving(failing) as server:
        tally = asked(tmp_path, server.url, 3, concurrency=4)
    assert tally.reasons == {"status 500: no GPU is left (request ...)": 3}


def test_an_error_with_status_200_is_shown(tmp_path: Path) -> None:
    with serving(lambda body, number: (200, {"error": {"message": "out of credits"}}, {})) as server:
        assert asked(tmp_path, server.url, 1).reasons == {"status 200 without an answer: out of credits": 1}


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (
            "",
            f"No key was sent: put it into the environment variable {KEY_VARIABLE} if the endpoint wants one, "
            "and check judge.base_url and judge.model",
        ),
        (KEY, f"Check judge.base_url, judge.model and the key in the environment variable {KEY_VARIABLE}"),
    ],
)
def test_a_refusal_of_all_questions_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, sentence: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    echo = f"Incorrect API key provided: {KEY[:12]}********. Bearer {KEY}"

    def refuse(body: dict[str, Any], number: int) -> Answer:
        return 401, {"error": {"message": echo}}, {}

    with serving(refuse) as server, pytest.raises(UserError) as caught:
        asked(tmp_path, server.url, 3)
    refused = "refuses all questions (status 401: Incorrect API key provided: ***. Bearer ***)"
    assert str(caught.value) == f"the judge 'grader' at {server.url} {refused}. {sentence}"


def test_no_piece_of_a_key_is_shown() -> None:
    key = 'a"b/c+0123456789'
    for echo in (key, json.dumps(key), "a%22b%2Fc%2B0123456789", "c+0123456..."):
        assert "012345" not in masked(f"key {echo}", key)
    assert masked("sk-proj-abcdef123456, gsk_abcdef123456 and AIzaSyA-abcdefghij", "") == "***, *** and ***"
    models = "gpt-4o-2024-11-20 and Qwen2.5-VL-72B-Instruct"
    assert masked(models, "x" * 20) == models


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("", ""),
        ("<html><style>p {}</style><body><h1>502  Bad\nGateway</h1></body></html>", ": 502 Bad Gateway"),
        ('{"message": "no such route"}', ": no such route"),
        ('{"detail": [{"msg": "too long"}]}', ': [{"msg": "too long"}]'),
        ('{"error": "no model"}', ": no model"),
        ("x" * 1000, ": " + "x" * 300 + "..."),
        ("[" * 100_000, ": " + "[" * 300 + "..."),
        (f"{'y' * 295} {KEY}", ": " + "y" * 295 + " ***"),
    ],
)
def test_a_body_is_a_line(body: str, shown: str) -> None:
    assert message_of(body, KEY) == shown
