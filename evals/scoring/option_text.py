"""Options that a reply quotes instead of naming their letters."""

import re
from collections.abc import Mapping

EAST_ASIAN = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Kana, Chinese characters and Hangul, for a class of characters in a pattern."""


def quoted_options(reply: str, options: Mapping[str, str]) -> list[str]:
    """The letters of the options whose text occurs anywhere in the reply, be it within a word; case does not count."""
    lower = reply.lower()
    return [letter for letter, text in options.items() if text.lower() in lower]


def only_option(reply: str, options: Mapping[str, str]) -> str:
    """The letter of the one option whose text stands in the reply as whole words; empty when none or several do."""
    found = [letter for letter, text in options.items() if text.strip() and _stands(text.strip(), reply)]
    return found[0] if len(found) == 1 else ""


def bounded(text: str) -> str:
    """A pattern of the text as whole words. East Asian words, which no space parts, are whole at the edge of other
    characters, behind a verb such as \u662f ("is") and before a particle such as \u7684."""
    east = re.compile(f"[{EAST_ASIAN}]")
    left = r"(?<![^\W\u662f\u4e3a\u70ba\u9009\u9078])" if east.match(text[:1]) else rf"(?<![^\W{EAST_ASIAN}])"
    right = r"(?![^\W\u7684\u4e86])" if east.match(text[-1:]) else rf"(?![^\W{EAST_ASIAN}])"
    return left + re.escape(text) + right


def _stands(text: str, reply: str) -> bool:
    return re.search(bounded(text), reply, re.IGNORECASE) is not None
