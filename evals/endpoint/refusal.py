"""What an endpoint says when it refuses: in a line, and without keys. For the messages of `client`."""

import json
import re
from typing import Any
from urllib.parse import quote

from cli_ray.text import printable

_LONGEST = 300
"""Characters that are shown."""
_READ = 4096
"""Characters that are looked at."""
_PIECE = 8
"""Characters of a key in a row that are no chance."""
_KEYS = re.compile(
    r"\b(?:sk|pk|gsk|xai|nvapi|hf|r8|key)[-_][\w*-]{6,}(?:\.[\w*-]+)*|\bAIza[\w-]{10,}|(?<=[Bb]earer )[^\s\"',]+"
)
"""What looks like the key of one of the large providers."""
_IDS = re.compile(r"\b(?:req|request|chatcmpl|trace)[-_]\w[\w-]{5,}|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""What is of one request alone, so that equal refusals would not be counted together."""


def message_of(body: str, key: str) -> str:
    """The message in the body of a response, as `: message`, shortened; empty for an empty body.

    Args:
        key: that was sent; neither it nor a piece of it is in the message.
    """
    text = re.sub(r"<(?:style|script).*?</(?:style|script)>|<[^<>]*>", " ", _message(body)[:_READ], flags=re.DOTALL)
    text = printable(" ".join(_IDS.sub("...", masked(text, key)).split()))
    return f": {text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'}" if text else ""


def masked(text: str, key: str) -> str:
    """The text without the key, pieces of it, and what looks like another one."""
    for form in {key, quote(key, safe=""), json.dumps(key)[1:-1]} - {""}:
        text = text.replace(form, "***")
    pieces = {key[start : start + _PIECE] for start in range(len(key) - _PIECE + 1)}
    shown, end = "", 0
    for place in range(len(text)):
        if text[place : place + _PIECE] in pieces:
            shown += "***" if place >= end else ""
            end = place + _PIECE
        elif place >= end:
            shown += text[place]
    return re.sub(r"\*{4,}", "***", _KEYS.sub("***", shown))


def _message(body: str) -> str:
    """The message of an error in one of the usual shapes, or else the whole body."""
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError):
        return body
    for name in ("error", "message", "detail"):
        if isinstance(message, dict) and message.get(name):
            message = message[name]
    return message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
