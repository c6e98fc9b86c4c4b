"""What an endpoint answers, read out of a response that nobody vouches for. `client` reads each one with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cli_ray.evals.endpoint.usage import Usage
from cli_ray.text import printable

_LONGEST = 200
"""Characters of a name or a reason that are kept."""


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer."""

    text: str
    """Without parts of reasoning; empty where there is none."""
    refusal: str
    """Why there is no text, in the model's words, cut short; mostly empty."""
    finish: str | None
    """Why it ends: such as `stop`, `length` or `content_filter`."""
    usage: Usage
    model: str
    """What the endpoint says that it ran; empty where it does not say."""
    fingerprint: str
    """Of the endpoint's system; most say none."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """The fields of the request that say how it was drawn."""
    attempts: int = 1
    """Tries that it took."""
    seconds: float = 0.0
    """Of the last try."""

    @property
    def cut(self) -> bool:
        """Whether its end is missing, for want of tokens."""
        return self.finish == "length"


def completion_of(body: Any) -> Completion:
    """The answer in the body of a response.

    Args:
        body: parsed JSON of any shape.

    Raises:
        ValueError: it holds none.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text, refusal = _joined(message.get("content")), message.get("refusal") or ""
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("no answer") from error
    return Completion(
        _text(text),
        _name(refusal),
        None if finish is None else _name(finish),
        _usage(body.get("usage")),
        _name(body.get("model") or ""),
        _name(body.get("system_fingerprint") or ""),
    )


def _joined(content: Any) -> str:
    """The text of a message, whose content may be absent or a list of parts; parts of reasoning are none of it."""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content or () if part.get("type", "text") in ("text", "output_text")]
    return "".join(texts)


def _text(value: Any) -> str:
    """Text without halves of code points, which JSON may hold and files may not."""
    return str(value).encode(errors="replace").decode()


def _name(value: Any) -> str:
    """Text for people: short, in one line, and without what would steer a terminal."""
    return printable(" ".join(_text(value).split()))[:_LONGEST]


def _usage(value: Any) -> Usage:
    return Usage(
        _count(value, "prompt_tokens"),
        _count(_part(value, "prompt_tokens_details"), "cached_tokens"),
        _count(value, "completion_tokens"),
        _count(_part(value, "completion_tokens_details"), "reasoning_tokens"),
    )


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _count(value: Any, name: str) -> int:
    count = _part(value, name)
    return count if isinstance(count, int) and 0 <= count < 2**53 else 0
