"""What the engine is asked and what it answers, and the error of what cannot be asked. Torch-free.

Written by the commands, the library and the server.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from cli_ray.data.sample import IMAGE_MARK, LITERAL_MARK, Message
from cli_ray.errors import UserError
from cli_ray.inference.injected import Injected
from cli_ray.inference.sampling import Sampling

MOST_STOP_TEXTS, LONGEST_STOP_TEXT = 16, 256
"""Texts, and characters of one: each is looked for at every token."""


class BadRequestError(UserError):
    """A request that no model, or not this one, can answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation that waits for its next reply."""

    messages: tuple[Message, ...]
    """The last one is the user's; an `<image>` mark stands for each image, as in the data of trainings."""
    images: tuple[bytes, ...]
    """Encoded (JPEG, PNG, ...), in the order of their marks."""
    sampling: Sampling = field(default_factory=Sampling)
    gates: bool = False
    """Whether the answer says what was injected."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a request."""

    text: str
    """Without white space around it."""
    finish: Literal["stop", "length"]
    """Whether the model or a stop text ended it; or it was cut: by its longest length, the context or its asker."""
    prompt_tokens: int
    """Those of images included."""
    reply_tokens: int
    """Without the token that ends it."""
    injected: Injected | None
    """Of the images of the conversation, where it was asked for and the model injects."""


def check_request(request: Request) -> None:
    """Looks at all of a request that shows without a model.

    Raises:
        BadRequestError: it cannot be answered.
    """
    _check_messages(request.messages)
    marks = sum(text.count(IMAGE_MARK) for message in request.messages for text in message.parts or (message.content,))
    if marks != len(request.images):
        raise BadRequestError(
            f"the messages have {marks:,} {IMAGE_MARK} marks, but there are {len(request.images):,} images: write one "
            "for each image and none elsewhere"
        )
    _check_sampling(request.sampling)


def _check_messages(messages: Sequence[Message]) -> None:
    roles = Counter(message.role for message in messages)
    unknown = roles.keys() - {"system", "user", "assistant"}
    if unknown or not messages or messages[-1].role != "user":
        said = f"{sorted(unknown)[0]!r}" if unknown else "none of the user at the end"
        raise BadRequestError(f"the roles of the messages are wrong, {said}: system, user, assistant, at last user")
    if not messages[-1].content.replace(IMAGE_MARK, "").strip():
        raise BadRequestError("the question is empty: write it behind the images")
    for number, message in enumerate(messages, 1):
        if message.role != "user" and IMAGE_MARK in message.content:
            raise BadRequestError(
                f"message {number} has an image, but is the {message.role}'s: only the user shows any"
            )
        if LITERAL_MARK in message.content or any("\ud800" <= character <= "\udfff" for character in message.content):
            raise BadRequestError(f"message {number} holds code points that are no characters: send valid UTF-8")


def _check_sampling(sampling: Sampling) -> None:
    if sampling.max_new_tokens < 1:
        raise BadRequestError(f"max_new_tokens = {sampling.max_new_tokens}, must be 1 or more")
    if not 0 <= sampling.temperature <= 100:
        raise BadRequestError(f"temperature = {sampling.temperature:g}, must be from 0 to 100; 0 takes the likeliest")
    if not 0 < sampling.top_p <= 1:
        raise BadRequestError(f"top_p = {sampling.top_p:g}, must be above 0 and at most 1")
    if len(sampling.stop) > MOST_STOP_TEXTS or not all(0 < len(text) <= LONGEST_STOP_TEXT for text in sampling.stop):
        raise BadRequestError(
            f"stop has {len(sampling.stop)} texts: up to {MOST_STOP_TEXTS} of 1 to {LONGEST_STOP_TEXT} characters work"
        )
