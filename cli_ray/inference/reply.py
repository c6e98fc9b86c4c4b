"""A reply as it grows, token by token: its text, when it ends, and which part of the text is final.

The engine keeps one for each row of a batch; `Replies` is what `generate` asks after each token.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria

UNFINISHED = "\ufffd"
"""What a decoder writes for bytes that make no character yet."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""A token of one byte in vocabularies that fall back to bytes, as Llama's. A run of them is decoded as a whole, so that
nothing of it is final before it ends."""


class Vocabulary:
    """What replies need to know of a tokenizer.

    Args:
        tokenizer: used by nobody else while a batch is generated.
        ends: tokens that end a reply.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._bytes = frozenset(token for name, token in tokenizer.get_vocab().items() if _BYTE.fullmatch(name))
        self.ends = ends

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def final_text(self, tokens: Sequence[int]) -> str:
        """The beginning of the text that no later token changes."""
        end = len(tokens)
        while end and tokens[end - 1] in self._bytes:
            end -= 1
        return self.text(tokens[:end]).rstrip(UNFINISHED)


class Reply:
    """One reply.

    Args:
        vocabulary: of the model.
        limit: tokens at most.
        stop: texts that end it.
        on_text: gets each piece of the text once it is final; the pieces together are `text`.
        is_cancelled: whether nobody waits for it any more.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        limit: int,
        stop: Sequence[str],
        on_text: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._vocabulary = vocabulary
        self._limit = limit
        self._stop = stop
        self._on_text = on_text
        self._is_cancelled = is_cancelled
        self.tokens: list[int] = []
        self.text = ""
        """What is final of it, without white space around it; all of it once there is a `finish`."""
        self.finish: Literal["stop", "length"] | None = None

    def take(self, token: int) -> None:
        """Goes on by a token."""
        if token in self._vocabulary.ends:
            self._end("stop")
            return
        self.tokens.append(token)
        text = self._vocabulary.final_text(self.tokens)
        if self._cut(text) is not None:
            self._end("stop")
        elif len(self.tokens) == self._limit or self._is_cancelled():
            self._end("length")
        else:
            self._tell(text[: len(text) - self._begun(text)])

    def _end(self, finish: Literal["stop", "length"]) -> None:
        text = self._vocabulary.text(self.tokens)
        cut = self._cut(text)
        self._tell(text[:cut])
        self.finish = finish if cut is None else "stop"

    def _tell(self, text: str) -> None:
        text = text.strip()
        piece, self.text = text[len(self.text) :], text
        if piece:
            self._on_text(piece)

    def _cut(self, text: str) -> int | None:
        """Where the first stop text begins; None without one."""
        return min((text.index(stop) for stop in self._stop if stop in text), default=None)

    def _begun(self, text: str) -> int:
        """Characters at the end of a text that may be the beginning of a stop text."""
        return max(
            (length for stop in self._stop for length in range(1, len(stop)) if text.endswith(stop[:length])),
            default=0,
        )


class Replies(StoppingCriteria):
    """The replies of a batch; `generate` ends the rows of those that have ended.

    Args:
        replies: of the rows.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = replies

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """As in transformers: Bool[rows]."""
        for reply, token in zip(self._replies, input_ids[:, -1].tolist(), strict=True):
            if reply.finish is None:
                reply.take(token)
        return torch.tensor([reply.finish is not None for reply in self._replies], device=input_ids.device)
