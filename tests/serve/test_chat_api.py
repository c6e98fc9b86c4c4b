"""What the API answers to requests that are in order."""

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from cli_ray.data.sample import IMAGE_MARK
from cli_ray.serve.key import is_open, key_digest
from tests.serve.server import Served, config_of, serving, until

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server with the limits of the config."""
    with serving(config_of()) as server:
        yield server


def asked(text: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}]} | fields


def reply(served: Served, text: Any, **fields: Any) -> Any:
    """The body of a response."""
    response = served.client.post(CHAT, json=asked(text, **fields))
    assert response.status_code == 200, response.text
    return response.json()


def events(served: Served, text: str, **fields: Any) -> list[Any]:
    """The events of a stream before its end."""
    response = served.client.post(CHAT, json=asked(text, stream=True, **fields))
    assert response.headers["Content-Type"].startswith("text/event-stream")
    *chunks, end = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


def test_a_reply_has_its_tokens_and_its_end(served: Served) -> None:
    whole, cut = reply(served, "one two three"), reply(served, "one two three", max_tokens=2)
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two three", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert (cut["choices"][0]["message"]["content"], cut["choices"][0]["finish_reason"]) == ("one two", "length")


def test_a_stream_brings_pieces_their_end_and_the_tokens(served: Served) -> None:
    chunks = events(served, "one two", stream_options={"include_usage": True})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "one"}, {"content": " two"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 4
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "usage" not in events(served, "one")[0]


def test_several_replies_are_drawn_each_with_a_seed_of_its_own(served: Served) -> None:
    answer = reply(served, "one two", n=3, seed=2**63 - 2, temperature=1)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}
    drawn = [request.sampling.seed for batch in served.engine.batches for request in batch][-3:]
    assert len(set(drawn)) == 3
    assert {chunk["choices"][0]["index"] for chunk in events(served, "one two", n=3)} == {0, 1, 2}


def test_images_come_to_the_engine_as_they_were_sent_in_the_order_of_their_marks(served: Served) -> None:
    files = []
    for color in ("red", "blue"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), color).save(file, "png")
        files.append(file.getvalue())
    urls = [f"data:image/png;base64,{base64.b64encode(content).decode()}" for content in files]
    parts = [{"type": "image_url", "image_url": {"url": url, "detail": "auto"}} for url in urls]
    reply(served, [parts[0], {"type": "text", "text": "or"}, parts[1], {"type": "text", "text": "Which?"}])
    [request] = served.engine.batches[-1]
    assert list(request.images) == files
    assert request.messages[0].parts == (IMAGE_MARK, "or", IMAGE_MARK, "Which?")


def test_fields_that_change_no_reply_and_nulls_are_accepted(served: Served) -> None:
    neutral = {
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "tools": None,
        "presence_penalty": 0.0,
        "seed": None,
    }
    assert reply(served, "one", response_format={"type": "text"}, **neutral)["usage"]["completion_tokens"] == 1


def test_a_conversation_goes_on_from_a_reply_that_is_sent_back(served: Served) -> None:
    said = reply(served, "one")["choices"][0]["message"] | {"tool_calls": None, "audio": None}
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "one"}, said]
    response = served.client.post(CHAT, json=asked("") | {"messages": [*turns, {"role": "user", "content": "two"}]})
    assert response.json()["choices"][0]["message"]["content"] == "two"
    assert [message.role for message in served.engine.batches[-1][0].messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def test_the_model_is_listed_and_found_by_its_name(served: Served) -> None:
    listed = served.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["echo"]
    assert served.client.get("/v1/models/echo").json() == listed["data"][0]
    assert served.client.get("/v1/models/gpt-4").status_code == 404


def test_a_key_is_compared_and_only_its_digest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLI_RAY_API_KEY", "sesame")
    digest = key_digest()
    assert b"sesame" not in digest
    assert is_open(digest, "Bearer sesame")
    assert not any(is_open(digest, header) for header in ("", "Bearer ", "Bearer sesam", "Basic sesame", "sesame"))
    monkeypatch.delenv("CLI_RAY_API_KEY")
    assert is_open(key_digest(), "")


def test_requests_without_the_key_are_turned_away_and_health_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLI_RAY_API_KEY", "sesame")
    with serving(config_of(), key_digest()) as server:
        refused = server.client.post(CHAT, json=asked("x"), headers={"Authorization": "Bearer guess"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert server.client.get("/v1/models").status_code == 401
        assert server.client.get("/health").json() == {"status": "ok", "replicas": 1}
        opened = server.client.post(CHAT, json=asked("x"), headers={"Authorization": "Bearer sesame"})
        assert opened.status_code == 200


def test_a_full_queue_refuses_at_once_and_is_free_again_later() -> None:
    with serving(config_of(limits={"queue": 3})) as server, ThreadPoolExecutor() as pool:
        server.engine.may_go_on.clear()
        waiting = [pool.submit(server.client.post, CHAT, json=asked("x")) for _ in range(3)]
        until(lambda: 3 in server.watched.taken)
        full = server.client.post(CHAT, json=asked("x"))
        assert (full.status_code, full.headers["Retry-After"]) == (429, "1")
        server.engine.may_go_on.set()
        assert [one.result().status_code for one in waiting] == [200] * 3
        assert server.client.post(CHAT, json=asked("x", n=4)).status_code == 429
        assert server.client.post(CHAT, json=asked("x", n=3)).status_code == 200


def test_a_reply_that_takes_too_long_is_given_up() -> None:
    with serving(config_of(limits={"reply_s": 0.1})) as server:
        server.engine.may_go_on.clear()
        assert server.client.post(CHAT, json=asked("x")).status_code == 504


def test_an_engine_that_is_lost_says_so_and_health_turns_bad() -> None:
    with serving(config_of()) as server:
        server.engine.fault = RuntimeError("CUDA error")
        assert server.client.post(CHAT, json=asked("x")).status_code == 500
        assert server.client.get("/health").status_code == 503
