"""The body of `/v1/chat/completions`: OpenAI's fields, checked, and what the engine is asked of them.

`api` calls it. A field that would change the reply and is not supported is refused by name; those that only describe
the request are accepted.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from cli_ray.config.serving import LimitsConfig
from cli_ray.data.sample import IMAGE_MARK, LITERAL_MARK, Role
from cli_ray.data.sample import Message as ChatMessage
from cli_ray.inference.request import LONGEST_STOP_TEXT
from cli_ray.inference.sampling import Sampling
from cli_ray.serve.refusal import RefusalError

HARMLESS = ("metadata", "parallel_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user")
"""Fields that change no reply of ours, whatever they hold."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
"""Fields of OpenAI's that are not supported, and the values beside null with which they ask for nothing."""
SEEDS = 2**63
"""Seeds lie between this and its negative."""
MAX_STOPS = 4
"""Texts that may end a reply, as at OpenAI."""
StopText = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP_TEXT)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class ImageUrl(_Part):
    """Where an image is."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None
    """Of no effect: the processor of the model decides on the resolution."""


class Part(_Part):
    """A text or an image of a message."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None

    @model_validator(mode="after")
    def _holds_what_its_type_says(self) -> Self:
        if (self.text is None) == (self.type == "text") or (self.image_url is None) == (self.type == "image_url"):
            raise PydanticCustomError("part", f"a part of type {self.type} must have the field {self.type} alone")
        return self


class Message(_Part):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[Part] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Replies that clients send back have fields such as `refusal` and `tool_calls`, which hold null."""
        return {key: field for key, field in value.items() if field is not None} if isinstance(value, dict) else value

    @field_validator("content", mode="before")
    @classmethod
    def _text_is_a_part(cls, value: Any) -> Any:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value

    @field_validator("content")
    @classmethod
    def _says_something(cls, parts: list[Part]) -> list[Part]:
        texts = [part.text for part in parts if part.text is not None]
        if len(texts) == len(parts) and not any(text.strip() for text in texts):
            raise PydanticCustomError("empty", "is empty: give a text or an image")
        # The model's own mark of an image must come from an image alone, whatever a text says.
        if any(mark in text for text in texts for mark in (IMAGE_MARK, LITERAL_MARK)):
            raise PydanticCustomError("mark", f"holds {IMAGE_MARK}: send images as parts of type image_url")
        return parts

    @property
    def urls(self) -> list[str]:
        """Of its images."""
        return [part.image_url.url for part in self.content if part.image_url is not None]

    def spoken(self) -> ChatMessage:
        """As the chat template takes it."""
        role: Role = "system" if self.role == "developer" else self.role
        return ChatMessage.of_parts(role, [IMAGE_MARK if part.text is None else part.text for part in self.content])


class StreamOptions(_Part):
    """What a stream brings beside text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Of no effect: it pads what others could see on the way."""


class Question(BaseModel):
    """A request."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True, allow_inf_nan=False)

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-SEEDS, lt=SEEDS)
    n: int | None = Field(default=None, ge=1)
    stop: list[StopText] | None = Field(default=None, max_length=MAX_STOPS)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _text_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("messages")
    @classmethod
    def _turns_make_a_prompt(cls, messages: list[Message]) -> list[Message]:
        roles = [message.role for message in messages]
        if roles[-1] != "user":
            raise PydanticCustomError("turns", f"the last message is of the {roles[-1]}, it must be of the user")
        if {"system", "developer"} & {*roles[1:]}:
            raise PydanticCustomError("turns", "a system message must be the first")
        if any(message.urls for message in messages if message.role != "user"):
            raise PydanticCustomError("turns", "only messages of the user may hold images")
        return messages

    @model_validator(mode="after")
    def _asks_for_what_there_is(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            known = NEUTRAL.get(name, ())
            if name not in HARMLESS and value is not None and not any(_same(value, one) for one in known):
                kind = "is not supported" if name in NEUTRAL else "is not known"
                raise PydanticCustomError("extra", f"the field {name[:60]!r} {kind}; leave it out", {"name": name[:60]})
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("extra", "stream_options needs stream = true", {"name": "stream_options"})
        return self

    @property
    def urls(self) -> list[tuple[str, str]]:
        """Where each image stands, such as `messages[0]`, and its address."""
        return [(f"messages[{turn}]", url) for turn, message in enumerate(self.messages) for url in message.urls]

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with counts of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def spoken(self) -> tuple[ChatMessage, ...]:
        """The conversation."""
        return tuple(message.spoken() for message in self.messages)

    def samplings(self, limits: LimitsConfig) -> list[Sampling]:
        """How each reply is drawn. Greedily unless a temperature is given; replies of one seed differ from each other.

        Args:
            limits: of the server.
        """
        most = self.max_completion_tokens or self.max_tokens or min(Sampling().max_new_tokens, limits.new_tokens)
        stop = tuple(self.stop or ())
        seeds = [None if self.seed is None else (self.seed + index) % SEEDS for index in range(self.n or 1)]
        heat, top_p = self.temperature or 0.0, 1.0 if self.top_p is None else self.top_p
        return [Sampling(most, heat, top_p, seed, stop) for seed in seeds]


def read_question(body: bytes, limits: LimitsConfig) -> Question:
    """The request of a body.

    Raises:
        RefusalError: it is no JSON, a field is wrong or not supported, or it asks for more than is allowed; names the
            field.
    """
    try:
        question = Question.model_validate_json(body)
    except ValidationError as error:
        raise _refused(error.errors(include_url=False, include_input=False)) from None
    _check(question, limits)
    return question


def _check(question: Question, limits: LimitsConfig) -> None:
    texts = [part.text for message in question.messages for part in message.content if part.text is not None]
    for param, given, most in (
        ("max_completion_tokens", question.max_completion_tokens or 0, limits.new_tokens),
        ("max_tokens", question.max_tokens or 0, limits.new_tokens),
        ("n", question.n or 1, limits.choices),
        ("messages", len(question.messages), limits.messages),
    ):
        if given > most:
            raise RefusalError(400, f"{param}: {given:,}, this server allows {most:,}", param)
    for what, given, most in (
        ("images", len(question.urls), limits.images),
        ("characters", sum(map(len, texts)), limits.text_characters),
    ):
        if given > most:
            raise RefusalError(400, f"messages: {given:,} {what}, this server allows {most:,}", "messages")


def _refused(errors: Sequence[ErrorDetails]) -> RefusalError:
    """What the first error says, and the field it is about."""
    error = errors[0]
    if error["type"] == "json_invalid":
        return RefusalError(400, f"the body is no JSON: {error['msg'].removeprefix('Invalid JSON: ')}")
    if error["type"] == "extra":
        return RefusalError(400, error["msg"], error["ctx"]["name"], "unsupported_parameter")
    places = [f"[{place}]" if isinstance(place, int) else f".{place}" for place in error["loc"]]
    param = "".join(places).removeprefix(".") or None
    return RefusalError(400, f"{param}: {error['msg']}" if param else error["msg"], param)


def _same(value: Any, other: Any) -> bool:
    """Whether two JSON values are the same; 0 is not false."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
