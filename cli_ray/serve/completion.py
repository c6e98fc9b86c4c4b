"""OpenAI's form of replies: a completion as a whole, and the chunks of a stream as server-sent events.

`api` calls it.
"""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from cli_ray.inference.request import Answer


class Completion:
    """The reply to one request.

    Args:
        model: what requests call it.
        with_usage: whether a stream ends with counts of tokens.
    """

    def __init__(self, model: str, with_usage: bool) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._with_usage = with_usage

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The body of a response that is no stream."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "finish_reason": answer.finish,
                "logprobs": None,
            }
            for index, answer in enumerate(answers)
        ]
        return self._head | {"object": "chat.completion", "choices": choices, "usage": usage(answers)}

    def begun(self, index: int) -> bytes:
        """The event before the first text of a choice."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def text(self, index: int, piece: str) -> bytes:
        """The event of a piece of text."""
        return self._chunk(index, {"content": piece})

    def finished(self, index: int, answer: Answer) -> bytes:
        """The last event of a choice."""
        return self._chunk(index, {}, answer.finish)

    def end(self, answers: Sequence[Answer]) -> bytes:
        """The last events of a stream."""
        counts = event(self._stream([]) | {"usage": usage(answers)}) if self._with_usage else b""
        return counts + b"data: [DONE]\n\n"

    def _chunk(self, index: int, delta: dict[str, str], finish: str | None = None) -> bytes:
        chunk = self._stream([{"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}])
        return event(chunk | {"usage": None} if self._with_usage else chunk)

    def _stream(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._head | {"object": "chat.completion.chunk", "choices": choices}


def usage(answers: Sequence[Answer]) -> dict[str, int]:
    """Tokens of a request; its prompt counts once, however many replies it has."""
    prompt, reply = answers[0].prompt_tokens, sum(answer.reply_tokens for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}


def event(content: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
