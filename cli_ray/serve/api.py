"""The HTTP interface: who may ask, what a request says, and how its reply is sent. Knows nothing of Ray.

`app` puts it into a deployment and gives it the model; tests give it one of their own.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from cli_ray.config.serving import LimitsConfig, ServeConfig
from cli_ray.inference.request import Answer, Request
from cli_ray.serve.batcher import Refused, Said
from cli_ray.serve.body import read_body
from cli_ray.serve.completion import Completion, event
from cli_ray.serve.key import VARIABLE, is_open
from cli_ray.serve.merging import merged
from cli_ray.serve.pictures import Pictures
from cli_ray.serve.question import read_question
from cli_ray.serve.refusal import RETRY_AFTER, RefusalError
from cli_ray.serve.seats import Seats

T = TypeVar("T")


class Model(Protocol):
    """What answers."""

    def reply(self, request: Request, streams: bool) -> AsyncGenerator[Said]:
        """Pieces of text if it streams, and an `Answer` or `Refused` at the end. Closing it frees the model.

        Raises:
            RefusalError: the model was lost, or failed.
        """
        ...

    async def replicas(self) -> int:
        """How many are ready."""
        ...


class Watcher(Protocol):
    """What is told of requests."""

    def begin(self, taken: int) -> None:
        """One has come; so many replies are being asked for."""
        ...

    def end(self, status: int, seconds: float) -> None:
        """One was answered."""
        ...

    def tokens(self, answers: Sequence[Answer]) -> None:
        """These were generated."""
        ...


class Api:
    """An ASGI application.

    Args:
        model: what answers.
        config: of the server.
        digest: of the key that requests must bring; empty if none.
        watcher: told of each chat.
    """

    def __init__(self, model: Model, config: ServeConfig, digest: bytes, watcher: Watcher) -> None:
        self._model, self._config, self._digest, self._watcher = model, config, digest, watcher
        self._limits: LimitsConfig = config.limits
        self._seats = Seats(self._limits.queue)
        self._pictures = Pictures(self._limits, are_fetched=config.image_urls)
        self._started = int(time.time())

    def application(self) -> Starlette:
        """With its routes and the form of its errors."""
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/v1/models", self.models),
                Route("/v1/models/{name:path}", self.named_model),
                # Not a function, for the place in the queue is held until the last byte is sent.
                Route("/v1/chat/completions", _Endpoint(self.chat), methods=["POST"]),
            ],
            exception_handlers={RefusalError: _refusal, HTTPException: _no_route, Exception: _fault},
        )

    async def health(self, request: HttpRequest) -> Response:
        """Whether a reply can be made now; needs no key."""
        if not (count := await self._model.replicas()):
            raise RefusalError(503, "no replica of the model is ready", code="starting", headers=RETRY_AFTER)
        return JSONResponse({"status": "ok", "replicas": count})

    async def models(self, request: HttpRequest) -> Response:
        """The list of one model."""
        self._check_key(request)
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def named_model(self, request: HttpRequest) -> Response:
        """The model, if it is asked for by its name."""
        self._check_key(request)
        self._check_model(request.path_params["name"])
        return JSONResponse(self._card())

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A reply, whole or as a stream. Its place in the queue is held until all is sent."""
        request, begun, status = HttpRequest(scope, receive), time.monotonic(), 499

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check_key(request)
            with self._seats.hold():
                self._watcher.begin(self._seats.taken)
                async with asyncio.timeout(self._limits.reply_s):
                    await self._answer(request, watched)
        except RefusalError as error:
            await error.response()(scope, receive, watched)
        except TimeoutError:
            if status == 499:  # of a stream that has begun, the end is missing
                late = RefusalError(504, f"no reply within {self._limits.reply_s:g} s", code="timeout")
                await late.response()(scope, receive, watched)
        except ClientDisconnect:
            pass
        except (
            Exception
        ) as error:  # raised further, it would end the connection that the client keeps for its next chat
            logging.getLogger(__name__).exception("a chat failed")
            if status == 499:
                await _fault(request, error)(scope, receive, watched)
        finally:
            self._watcher.end(status, time.monotonic() - begun)

    async def _answer(self, request: HttpRequest, send: Send) -> None:
        question = read_question(await read_body(request, self._limits), self._limits)
        self._check_model(question.model)
        samplings = question.samplings(self._limits)
        with self._seats.hold(len(samplings) - 1):
            messages, images = question.spoken(), await self._pictures.read(question.urls)
            requests = [Request(messages, images, sampling) for sampling in samplings]
            completion = Completion(self._config.served_name, question.includes_usage)
            streams = bool(question.stream)
            async with aclosing(merged([self._model.reply(one, streams) for one in requests])) as said:
                if streams:
                    first = await anext(said)
                    _check(first[1])
                    events = self._events(completion, first, said, len(requests))
                    response: Response = StreamingResponse(events, media_type="text/event-stream", headers=NO_CACHE)
                else:
                    response = JSONResponse(completion.whole(await self._answers(said, len(requests))))
                await response(request.scope, request.receive, send)

    async def _answers(self, said: AsyncIterator[tuple[int, Said]], count: int) -> list[Answer]:
        answers: dict[int, Answer] = {}
        async for index, item in said:
            if isinstance(answer := _check(item), Answer):
                answers[index] = answer
        self._watcher.tokens(list(answers.values()))
        return [answers[index] for index in range(count)]

    async def _events(
        self, completion: Completion, first: tuple[int, Said], said: AsyncIterator[tuple[int, Said]], count: int
    ) -> AsyncIterator[bytes]:
        for index in range(count):
            yield completion.begun(index)
        answers = []
        try:
            async for index, item in _chained(first, said):
                if isinstance(answer := _check(item), Answer):
                    answers.append(answer)
                    yield completion.finished(index, answer)
                else:
                    yield completion.text(index, answer)
            yield completion.end(answers)
        except RefusalError as error:  # too late for a status
            yield event(error.body())
        finally:
            self._watcher.tokens(answers)

    def _check_key(self, request: HttpRequest) -> None:
        if not is_open(self._digest, request.headers.get("Authorization", "")):
            told = f"wrong or missing key; send the header Authorization: Bearer KEY, that of {VARIABLE} at the server"
            raise RefusalError(401, told, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def _check_model(self, name: str) -> None:
        if name != self._config.served_name:
            known = f"the model {name[:100]!r} is not served here, only {self._config.served_name!r}"
            raise RefusalError(404, known, "model", "model_not_found")

    def _card(self) -> dict[str, Any]:
        return {"id": self._config.served_name, "object": "model", "created": self._started, "owned_by": "cli_ray"}


NO_CACHE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Keeps proxies from holding events back."""


class _Endpoint:
    """An ASGI application that Starlette's router does not take for a function of a request."""

    def __init__(self, run: Callable[[Scope, Receive, Send], Any]) -> None:
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._run(scope, receive, send)


def _check(item: Said) -> str | Answer:
    """What was said, unless the engine refused (RefusalError)."""
    if isinstance(item, Refused):
        raise RefusalError(400, item.reason, "messages")
    return item


async def _chained(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for item in rest:
        yield item


def _refusal(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return error.response()


def _no_route(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = f"there is no {request.method} {request.url.path[:100]} here"
    return RefusalError(error.status_code, told, code="unknown_url", headers=error.headers).response()


def _fault(request: HttpRequest, error: Exception) -> Response:
    return RefusalError(500, "the server failed; its log has more", code="internal_error").response()
