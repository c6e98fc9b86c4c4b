"""What strangers may send: each is answered by an error that says what is wrong, and the server goes on."""

import base64
import io
import json
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.serve.server import Served, config_of, serving, until

LIMITS = {"body_MiB": 4, "image_MiB": 1, "image_pixels": 250_000, "images": 4, "text_characters": 9000}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server with small limits."""
    with serving(config_of(limits=LIMITS)) as server:
        yield server


def image_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "png")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels by its header."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + block(b"IHDR", head) + block(b"IDAT", zlib.compress(bytes(1000))) + block(b"IEND", b"")
    )


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": "hello"}]} | fields


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return body(messages=[{"role": "user", "content": content, **fields}])


def asked_about(*urls: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return user([*parts, {"type": "text", "text": "What is it?"}])


RAW = {
    "broken JSON": (b'{"model": "echo", "messages": [', 400, None),
    "no JSON": (b"hello", 400, None),
    "an empty body": (b"", 400, None),
    "a list": (b"[]", 400, None),
    "deep nesting": (b'{"model": "echo", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None),
    "no UTF-8": (b'{"model": "\xff\xfe"}', 400, None),
    "a lone surrogate": (json.dumps(user("\ud800")).encode(), 400, None),
    "NaN": (json.dumps(body(temperature=float("nan"))).encode(), 400, "temperature"),
    "a number of a million digits": (b'{"model": "echo", "seed": ' + b"9" * 1_000_000 + b"}", 400, None),
    "100 MB": (b" " * 100_000_000, 413, None),
}
FIELDS: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "no messages": (body(messages=[]), 400, "messages"),
    "messages left out": ({"model": "echo"}, 400, "messages"),
    "an empty message": (user(""), 400, "messages[0].content"),
    "no content": (user(None), 400, "messages[0].content"),
    "an unknown role": (body(messages=[{"role": "root", "content": "x"}]), 400, "messages[0].role"),
    "a last message of the assistant": (
        body(messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]),
        400,
        "messages",
    ),
    "a late system message": (
        body(messages=[{"role": "user", "content": "x"}, {"role": "system", "content": "y"}] * 2),
        400,
        "messages",
    ),
    "an unknown model": (body(model="gpt-4"), 404, "model"),
    "a model of another type": (body(model=7), 400, "model"),
    "negative tokens": (body(max_tokens=-1), 400, "max_tokens"),
    "too many tokens": (body(max_completion_tokens=10**6), 400, "max_completion_tokens"),
    "a huge seed": (body(seed=10**30), 400, "seed"),
    "a huge temperature": (body(temperature=1e300), 400, "temperature"),
    "text for a number": (body(temperature="0"), 400, "temperature"),
    "a thousand replies": (body(n=1000), 400, "n"),
    "an empty stop": (body(stop=["a", ""]), 400, "stop[1]"),
    "many stops": (body(stop=["a"] * 1000), 400, "stop"),
    "tools": (body(tools=[{"type": "function"}]), 400, "tools"),
    "logprobs": (body(logprobs=True), 400, "logprobs"),
    "a form of the reply": (body(response_format={"type": "json_object"}), 400, "response_format"),
    "an unknown field": (body(top_k=5), 400, "top_k"),
    "options of no stream": (body(stream_options={"include_usage": True}), 400, "stream_options"),
    "audio": (user([{"type": "input_audio", "input_audio": {}}]), 400, "messages[0].content[0].type"),
    "a part that lies": (user([{"type": "text", "image_url": {"url": "x"}}]), 400, "messages[0].content[0]"),
    "tool calls": (user("x", tool_calls=[{}]), 400, "messages[0].tool_calls"),
    "the mark of an image": (user("<image>\nWhat is it?"), 400, "messages[0].content"),
    "the mark of no image": (user("\ufdd0"), 400, "messages[0].content"),
    "a long text": (user("x " * 5000), 400, "messages"),
    "a prompt beyond the context": (user("x " * 1100), 400, "messages"),
    "a thousand messages": (body(messages=[{"role": "user", "content": "x"}] * 1000), 400, "messages"),
    "a thousand images": (asked_about(*["data:image/png;base64,"] * 1000), 400, "messages"),
    "no image": (asked_about(image_url(b"GIF89a is what it says")), 400, "messages[0].content"),
    "a bomb": (asked_about(image_url(bomb())), 400, "messages[0].content"),
    "many large images": (asked_about(*[image_url(png(490, 490))] * 4), 200, None),
    "one too large": (asked_about(image_url(png(501, 2))), 400, "messages[0].content"),
    "a heavy image": (asked_about(image_url(bytes(1_100_000))), 413, "messages[0].content"),
    "broken base64": (asked_about("data:image/png;base64,####"), 400, "messages[0].content"),
    "a data URL of text": (asked_about(image_url(b"<svg/>", "text/html")), 400, "messages[0].content"),
    "a path": (asked_about("/etc/passwd"), 400, "messages[0].content"),
    "a file URL": (asked_about("file:///etc/passwd"), 400, "messages[0].content"),
    "an address": (asked_about("http://169.254.169.254/latest/meta-data"), 400, "messages[0].content"),
    "an image of the assistant": (
        body(messages=[asked_about("x")["messages"][0] | {"role": "assistant"}, {"role": "user", "content": "x"}]),
        400,
        "messages",
    ),
}


def assert_alive(served: Served) -> None:
    answered = served.client.post("/v1/chat/completions", json=body())
    assert answered.json()["choices"][0]["message"]["content"] == "hello"


def assert_refused(response: httpx.Response, status: int, param: str | None) -> None:
    assert response.status_code == status, response.text[:300]
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    assert 0 < len(error["message"]) < 400
    assert "Traceback" not in response.text


@pytest.mark.parametrize("name", RAW)
def test_a_body_that_cannot_be_read_is_refused(name: str, served: Served) -> None:
    content, status, param = RAW[name]
    response = served.client.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    assert_refused(response, status, param)
    assert_alive(served)


@pytest.mark.parametrize("name", [name for name in FIELDS if FIELDS[name][1] != 200])
def test_a_request_that_cannot_be_met_is_refused_with_its_field(name: str, served: Served) -> None:
    fields, status, param = FIELDS[name]
    assert_refused(served.client.post("/v1/chat/completions", json=fields), status, param)
    assert_alive(served)


def test_images_within_the_limits_are_taken(served: Served) -> None:
    fields, status, _ = FIELDS["many large images"]
    assert served.client.post("/v1/chat/completions", json=fields).status_code == status


def test_a_body_of_another_type_is_refused(served: Served) -> None:
    response = served.client.post("/v1/chat/completions", data={"model": "echo"})
    assert_refused(response, 415, None)


def test_a_stream_that_cannot_be_begun_is_refused_by_its_status(served: Served) -> None:
    fields = user("x " * 1100) | {"stream": True}
    assert_refused(served.client.post("/v1/chat/completions", json=fields), 400, "messages")


def test_an_unknown_address_and_method_are_refused(served: Served) -> None:
    assert_refused(served.client.get("/v1/completions"), 404, None)
    assert_refused(served.client.get("/v1/chat/completions"), 405, None)
    assert_refused(served.client.get("/v1/models/../../etc/passwd"), 404, None)


def sent(served: Served, length: int, content: bytes) -> socket.socket:
    """A connection on which so much of a body was sent."""
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}"
    )
    connection.sendall(f"{head}\r\n\r\n".encode() + content)
    return connection


def test_a_slow_client_is_given_up() -> None:
    with serving(config_of(limits={"upload_s": 0.1})) as served:
        with sent(served, 1000, b"{") as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert_alive(served)


def test_half_a_body_ends_with_its_client(served: Served) -> None:
    sent(served, 1000, b"{").close()
    until(lambda: 499 in served.watched.statuses)
    assert_alive(served)


def test_a_body_in_pieces_is_counted(served: Served) -> None:
    pieces = (b" " * 100_000 for _ in range(100))
    response = served.client.post("/v1/chat/completions", content=pieces, headers={"Content-Type": "application/json"})
    assert_refused(response, 413, None)
    assert_alive(served)


def test_a_fault_of_the_model_shows_nothing_of_it(served: Served) -> None:
    response = served.client.post("/v1/chat/completions", json=user("fail"))
    assert_refused(response, 500, None)
    assert "secret" not in response.text
    assert_alive(served)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/health", "http://[::1]/", "https://[::1", "http://nowhere.invalid/"]
)
def test_no_machine_within_is_asked_for_an_image_and_nothing_is_told_of_it(url: str) -> None:
    with serving(config_of(image_urls=True)) as served:
        response = served.client.post("/v1/chat/completions", json=asked_about(url.format(port=served.port)))
        assert_refused(response, 400, "messages[0].content")
        assert response.json()["error"]["message"] == "messages[0]: the image cannot be fetched from its address"
