"""An OpenAI-compatible endpoint for chats, which many threads ask: the judge's, or that of an evaluated model.

Our own client over httpx: the SDK of OpenAI sleeps between tries where nothing can stop it, follows redirects, and has
no part in what makes up most of this: learning an endpoint's dialect and keeping keys out of messages.
"""

import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)

from cli_ray.config.evaluation import EndpointConfig
from cli_ray.errors import UserError
from cli_ray.evals.endpoint.completion import Completion, completion_of
from cli_ray.evals.endpoint.dialect import Dialect
from cli_ray.evals.endpoint.refusal import masked, message_of
from cli_ray.evals.endpoint.role import Role

FIRST_PAUSE_S = 1.0
"""Before the second try; it doubles from try to try; up to as much is added at random, so that
questions do not come back all at once."""
LONGEST_PAUSE_S = 120.0
MAX_BODY_BYTES = 16 * 2**20
"""Of a response; the longest replies are a hundredth of it."""
SECRET_LENGTH = 8
"""Characters of a key at least. `EMPTY` and the like, which servers of one's own take, are words of replies."""

_AGAIN = {408, 409, 425, 429}
"""Statuses that may pass, beside those from 500 on."""
_OF_THE_QUESTION = {400, 413, 422}
"""Statuses that a single question may cause, such as one that is too long."""


class UnansweredError(Exception):
    """A question has no answer; the message says why and holds no secret."""

    attempts = 1
    """Tries that it took."""


class _PassingError(UnansweredError):
    """Another try may help."""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    retry_after: str
    body: str


class Endpoint:
    """A model behind `config.base_url`. May be used from many threads, which share what it says of its rate.

    Args:
        role: what it is asked for.
        model: its name there.
        stop: ends tries and pauses when set; set when the endpoint refuses all questions.

    Raises:
        UserError: the address or the key cannot be sent.
    """

    def __init__(self, role: Role, model: str, config: EndpointConfig, stop: threading.Event) -> None:
        self._role, self._model, self._timeout_s, self._stop = role, model, config.timeout_s, stop
        self._key, address = role.key(), role.address(config.base_url)
        self._name = f"the {role.title} {model!r} at {address}"
        self._dialect = Dialect()
        self._client = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {self._key.get_secret_value()}"} if self._key else {},
            timeout=config.timeout_s,
            limits=httpx.Limits(max_connections=config.concurrency),
        )
        self._open_at = 0.0
        """Time before which the endpoint wants no question of anybody."""
        self._sleep = sleep_using_event(stop)
        self._again = Retrying(
            stop=stop_after_attempt(config.attempts) | stop_when_event_set(stop),
            wait=_pause,
            retry=retry_if_exception_type(_PassingError),
            sleep=self._sleep,
            reraise=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    @property
    def draws(self) -> bool:
        """Whether answers are drawn although no question asks for it, as the endpoint takes no temperature."""
        return self._dialect.draws

    def complete(self, messages: Sequence[Mapping[str, Any]], max_tokens: int, temperature: float) -> Completion:
        """The answer to a chat.

        Raises:
            UnansweredError: there is none in as many tries as are allowed.
            UserError: the endpoint refuses all questions.
        """
        tries = self._again.copy()
        try:
            answer = tries(self._once, messages, max_tokens, temperature)
        except UnansweredError as error:
            error.attempts = tries.statistics["attempt_number"]
            raise
        return replace(answer, attempts=tries.statistics["attempt_number"])

    def clean(self, text: str) -> str:
        """The text without the key, which some servers send back."""
        key = self._key.get_secret_value()
        return text.replace(key, "***") if len(key) >= SECRET_LENGTH else text

    def _once(self, messages: Sequence[Mapping[str, Any]], max_tokens: int, temperature: float) -> Completion:
        begun = time.perf_counter()
        decoding = self._dialect.decoding(max_tokens, temperature)
        response = self._post(messages, decoding)
        while response.status in _OF_THE_QUESTION and self._dialect.learn(decoding, response.body):
            decoding = self._dialect.decoding(max_tokens, temperature)
            response = self._post(messages, decoding)
        if not 200 <= response.status < 300:
            self._refuse(response)
        try:
            answer = completion_of(json.loads(response.body))
        except (ValueError, RecursionError):
            raise _PassingError(f"status {response.status} without an answer{self._message(response)}") from None
        return replace(
            answer,
            text=self.clean(answer.text),
            refusal=self.clean(answer.refusal),
            model=self.clean(answer.model),
            fingerprint=self.clean(answer.fingerprint),
            decoding=decoding,
            seconds=time.perf_counter() - begun,
        )

    def _post(self, messages: Sequence[Mapping[str, Any]], decoding: Mapping[str, Any]) -> _Response:
        if (wait_s := self._open_at - time.monotonic()) > 0:
            self._sleep(wait_s + random.uniform(0, FIRST_PAUSE_S))
        if self._stop.is_set():
            raise UnansweredError("given up, as the endpoint answers nothing")
        question = {"model": self._model, "messages": [dict(message) for message in messages], **decoding}
        try:
            with self._client.stream("POST", "chat/completions", json=question) as response:
                return _Response(response.status_code, response.headers.get("Retry-After", ""), self._body(response))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _PassingError(self._masked(f"{type(error).__name__}: {error}")) from None

    def _body(self, response: httpx.Response) -> str:
        """The whole body, unless it has no end in size or time."""
        end = time.monotonic() + self._timeout_s
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise _PassingError(f"status {response.status_code} with more than {MAX_BODY_BYTES:,} bytes")
            if time.monotonic() > end:
                raise _PassingError(f"status {response.status_code} and no end within {self._timeout_s:g} s")
        return body.decode(errors="replace")

    def _refuse(self, response: _Response) -> NoReturn:
        """Raises what a status means."""
        status, why = f"status {response.status}", self._message(response)
        if response.status in _AGAIN or response.status >= 500:
            pause_s = _retry_after(response.retry_after)
            if pause_s > LONGEST_PAUSE_S:
                raise UnansweredError(f"{status}, try again in {pause_s:.0f} s{why}")
            self._open_at = max(self._open_at, time.monotonic() + pause_s)
            raise _PassingError(f"{status}{why}")
        if response.status in _OF_THE_QUESTION:
            raise UnansweredError(f"{status}{why}")
        self._stop.set()
        fix = self._role.fix(has_key=bool(self._key))
        raise UserError(f"{self._name} refuses all questions ({status}{why}). {fix}")

    def _message(self, response: _Response) -> str:
        return message_of(response.body, self._key.get_secret_value())

    def _masked(self, text: str) -> str:
        return " ".join(masked(text, self._key.get_secret_value()).split())


def _pause(state: RetryCallState) -> float:
    """Seconds until the next try. What the server asks for holds for all questions, see `Endpoint._post`."""
    return wait_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S)(state) + wait_random(0, FIRST_PAUSE_S)(state)


def _retry_after(value: str) -> float:
    """The seconds of a Retry-After header, which holds them or a date; 0 if it is absent or cannot be read."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
