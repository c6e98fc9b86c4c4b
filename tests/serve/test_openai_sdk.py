"""OpenAI's own Python SDK as a client: plain, streaming and asynchronous, and its exceptions."""

import asyncio
import base64
import io
from collections.abc import Iterator

import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError, OpenAI, RateLimitError
from openai.types.chat import ChatCompletionMessageParam
from PIL import Image

from cli_ray.serve.key import key_digest
from tests.serve.server import Served, config_of, serving


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server with a key, at which few may ask at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLI_RAY_API_KEY", "sesame")
        digest = key_digest()
    with serving(config_of(limits={"queue": 4}), digest) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[OpenAI]:
    """A client with the key."""
    with OpenAI(base_url=f"{served.url}/v1", api_key="sesame", max_retries=0) as one:
        yield one


def messages(text: str) -> list[ChatCompletionMessageParam]:
    """A question about a picture."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "png")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return [
        {"role": "system", "content": "Be short."},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}],
        },
    ]


def test_a_whole_reply(client: OpenAI) -> None:
    [listed] = client.models.list().data
    answer = client.chat.completions.create(model=listed.id, messages=messages("one two three"), max_tokens=2)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


def test_a_stream_with_its_counts(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="echo", messages=messages("one two"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "one two"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


def test_many_at_once_each_with_its_own_reply(served: Served) -> None:
    async def ask() -> list[str | None]:
        async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="sesame", max_retries=0) as client:
            asked = [client.chat.completions.create(model="echo", messages=messages(f"number {i}")) for i in range(4)]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

    assert asyncio.run(ask()) == [f"number {index}" for index in range(4)]


def test_errors_become_the_exceptions_of_the_sdk(client: OpenAI, served: Served) -> None:
    with pytest.raises(NotFoundError, match="gpt-4"):
        client.chat.completions.create(model="gpt-4", messages=messages("x"))
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(model="echo", messages=messages("x"), logprobs=True)
    assert refused.value.param == "logprobs"
    with pytest.raises(RateLimitError):
        client.chat.completions.create(model="echo", messages=messages("x"), n=5)
    with pytest.raises(AuthenticationError):
        client.with_options(api_key="guess").models.list()
