"""Options that a reply quotes instead of naming their letters."""

import re
from collections.abc import Mapping

EAST_ASIAN = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Kana, Chinese characters and Hangul, for a class of characters in a pattern that is made once: each takes a
millisecond to make."""
_EAST = re.compile(f"[{EAST_ASIAN}]")
_BORDER = re.compile(rf"(?<=[{EAST_ASIAN}])(?=[A-Za-z(])|(?<=[A-Za-z)])(?=[{EAST_ASIAN}])")


def quoted_options(reply: str, options: Mapping[str, str]) -> list[str]:
    """The letters of the options whose text occurs anywhere in the reply, be it within a word; case does not count."""
    lower = reply.lower()
    return [letter for letter, text in options.items() if text.lower() in lower]


def only_option(reply: str, options: Mapping[str, str]) -> str:
    """The letter of the one option whose text stands in the reply as whole words; empty when none or several do."""
    reply = spaced(reply)
    letters = [letter for letter, text in options.items() if text.strip() and _stands(text, reply)]
    return letters[0] if len(letters) == 1 else ""


def spaced(text: str) -> str:
    """The text with a space between Latin letters and East Asian ones, and none around it."""
    return _BORDER.sub(" ", text).strip()


def bounded(text: str) -> str:
    """A pattern of a text as whole words, for replies that are `spaced`. East Asian words, which no space parts, are
    whole at the edge of other characters, behind a verb such as \u662f ("is") and before a particle such as \u7684."""
    text = spaced(text)
    left = r"(?<![^\W\u662f\u4e3a\u70ba\u9009\u9078])" if _EAST.match(text[:1]) else r"(?<!\w)"
    right = r"(?![^\W\u7684\u4e86])" if _EAST.match(text[-1:]) else r"(?!\w)"
    return left + re.escape(text) + right


def _stands(text: str, reply: str) -> bool:
    return re.search(bounded(text), reply, re.IGNORECASE) is not None
