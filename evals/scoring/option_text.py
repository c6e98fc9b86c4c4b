"""Options that a reply quotes instead of naming their letters."""

import re
from collections.abc import Mapping


def quoted_options(reply: str, options: Mapping[str, str]) -> list[str]:
    """The letters of the options whose text occurs anywhere in the reply, be it within a word; case does not count."""
    lower = reply.lower()
    return [letter for letter, text in options.items() if text.lower() in lower]


def only_option(reply: str, options: Mapping[str, str]) -> str:
    """The letter of the one option whose text stands in the reply as whole words; empty when none or several do."""
    found = [letter for letter, text in options.items() if text.strip() and _stands(text.strip(), reply)]
    return found[0] if len(found) == 1 else ""


def _stands(text: str, reply: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", reply, re.IGNORECASE) is not None
