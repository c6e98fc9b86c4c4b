"""An OpenAI-compatible endpoint for chats, which the judge stage asks from many threads.

Our own client over httpx: the SDK of OpenAI sleeps between tries where nothing can stop it, follows redirects, and has
no part in what makes up most of this: learning an endpoint's dialect and keeping keys out of messages.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx
from pydantic import SecretStr
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

from cli_ray.config.evaluation import JudgeConfig
from cli_ray.errors import UserError
from cli_ray.evals.judging.dialect import Dialect
from cli_ray.evals.judging.refusal import message_of
from cli_ray.evals.judging.verdicts import Question

FIRST_PAUSE_S = 1.0
"""Before the second try; it doubles from try to try; up to as much is added at random, so that
questions do not come back all at once."""
LONGEST_PAUSE_S = 120.0

ROOM = 8192
"""Tokens beyond its own that a question gets whose answer was cut: judges may reason before they answer."""

_AGAIN = {408, 409, 425, 429}
"""Statuses that may pass, beside those from 500 on."""
_OF_THE_QUESTION = {400, 413, 422}
"""Statuses that a single question may cause, such as one that is too long."""


class UnansweredError(Exception):
    """A question has no answer; the message says why and holds no secret."""


class _PassingError(UnansweredError):
    """Another try may help, after so many seconds at least."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge says to a question."""

    text: str
    """Empty if it says nothing."""
    cut: bool
    """Whether its end is missing, for want of tokens."""
    decoding: Mapping[str, Any]
    """The fields of the request that say how it was drawn."""


class Endpoint:
    """A judge behind `base_url`. May be used from many threads.

    Args:
        key: sent as bearer token unless empty; it is in no message and no answer.
        variable: where the user has put the key.
        stop: ends tries and pauses when set; set when the endpoint refuses all questions.

    Raises:
        UserError: the address or the key cannot be sent.
    """

    def __init__(self, config: JudgeConfig, key: SecretStr, variable: str, stop: threading.Event) -> None:
        if not re.fullmatch(r"[!-~]*", key.get_secret_value()):
            raise UserError(f"the key in {variable} holds characters that no key has; set it again")
        try:
            address = httpx.URL(config.base_url)
        except httpx.InvalidURL as error:
            raise UserError(f"judge.base_url is no address: {error}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise UserError("judge.base_url must begin with http:// or https:// and name a host")
        self._name = f"the judge {config.model!r} at {address.copy_with(userinfo=b'')}"
        self._model, self._key, self._variable, self._stop = config.model, key, variable, stop
        self._dialect = Dialect()
        self._client = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=config.timeout_s,
            limits=httpx.Limits(max_connections=config.concurrency),
        )
        self._again = Retrying(
            stop=stop_after_attempt(config.attempts) | stop_when_event_set(stop),
            wait=_pause,
            retry=retry_if_exception_type(_PassingError),
            sleep=sleep_using_event(stop),
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

    def answer(self, question: Question) -> Answer:
        """What the judge answers. One that is cut before its verdict is asked for once more, with room to reason.

        Raises:
            UnansweredError: it did not answer in as many tries as are allowed.
            UserError: it refuses all questions.
        """
        answer = self._again.copy()(self._once, question, question.max_tokens)
        if question.is_read_from(answer.text, cut=answer.cut) or not answer.cut:
            return answer
        return self._again.copy()(self._once, question, question.max_tokens + ROOM)

    def _once(self, question: Question, max_tokens: int) -> Answer:
        decoding = self._dialect.decoding(question, max_tokens)
        response = self._post(question, decoding)
        while response.status_code in _OF_THE_QUESTION and self._dialect.learn(decoding, response.text):
            decoding = self._dialect.decoding(question, max_tokens)
            response = self._post(question, decoding)
        if not response.is_success:
            self._refuse(response)
        try:
            choice = response.json()["choices"][0]
            message = choice["message"]
            text, refusal = _joined(message.get("content")), message.get("refusal")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _PassingError(f"status {response.status_code} without an answer{self._message(response)}") from None
        if refusal and not text:
            raise UnansweredError(f"refused: {self._clean(str(refusal))[:200]}")
        return Answer(self._clean(text), choice.get("finish_reason") == "length", decoding)

    def _post(self, question: Question, decoding: Mapping[str, Any]) -> httpx.Response:
        if self._stop.is_set():
            raise UnansweredError("given up, as the judge answers nothing")
        messages = [dict(message) for message in question.messages]
        try:
            return self._client.post("chat/completions", json={"model": self._model, "messages": messages, **decoding})
        except httpx.RequestError as error:
            raise _PassingError(self._clean(f"{type(error).__name__}: {error}")) from None

    def _refuse(self, response: httpx.Response) -> NoReturn:
        """Raises what a status means."""
        status, why = f"status {response.status_code}", self._message(response)
        if response.status_code in _AGAIN or response.status_code >= 500:
            pause = _retry_after(response.headers.get("Retry-After", ""))
            if pause > LONGEST_PAUSE_S:
                raise UnansweredError(f"{status}, try again in {pause:.0f} s{why}")
            raise _PassingError(f"{status}{why}", pause)
        if response.status_code in _OF_THE_QUESTION:
            raise UnansweredError(f"{status}{why}")
        self._stop.set()
        fix = f"Check judge.base_url, judge.model and the key in the environment variable {self._variable}"
        if not self._key:
            fix = f"No key was sent: put it into the environment variable {self._variable} if the endpoint wants one"
            fix += ", and check judge.base_url and judge.model"
        raise UserError(f"{self._name} refuses all questions ({status}{why}). {fix}")

    def _message(self, response: httpx.Response) -> str:
        return message_of(response, self._key.get_secret_value())

    def _clean(self, text: str) -> str:
        """The text without the key, which some servers send back."""
        return text.replace(self._key.get_secret_value(), "***") if self._key else text


def _joined(content: Any) -> str:
    """The text of a message, whose content may be absent or a list of parts; parts of reasoning are none of it."""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content or () if part.get("type", "text") in ("text", "output_text")]
    return "".join(texts)


def _pause(state: RetryCallState) -> float:
    """Seconds until the next try: as the server asks, and at least the growing pause."""
    error = state.outcome and state.outcome.exception()
    wanted = error.pause_s if isinstance(error, _PassingError) else 0.0
    growing = wait_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S)(state)
    return max(wanted, growing) + wait_random(0, FIRST_PAUSE_S)(state)


def _retry_after(value: str) -> float:
    """The seconds of a Retry-After header, which holds them or a date; 0 if it is absent or cannot be read."""
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
