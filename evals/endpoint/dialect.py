"""How an endpoint wants the limits of an answer: learnt from what it refuses, since servers and models differ.

`client` builds its requests with it. A field more that some endpoint refuses is a line in
`_REFUSED`.
"""

import re
from collections.abc import Mapping
from typing import Any

_REFUSED: dict[str, str | None] = {"max_tokens": "max_completion_tokens", "temperature": None}
"""Fields that some endpoints refuse, and the name that those take instead; None where the field is left out."""
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|does not support|unrecognized|unknown|unexpected|extra (?:inputs|fields)|not permitted"
    r"|not allowed|deprecated|only the default|strictly positive|instead",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"too (?:large|long)|context length|exceed", re.IGNORECASE)
"""Of a value of `max_tokens`, whose name is taken all the same."""


class Dialect:
    """The names and values that an endpoint takes. May be used from many threads."""

    def __init__(self) -> None:
        self._learnt: dict[str, str | None] = {}

    @property
    def draws(self) -> bool:
        """Whether answers are drawn at the endpoint's own temperature, so that the next may be another."""
        return "temperature" in self._learnt

    def decoding(self, max_tokens: int, temperature: float) -> dict[str, Any]:
        """How a question is to be answered, as fields of a request."""
        fields = {"max_tokens": max_tokens, "temperature": temperature}
        names = {name: self._learnt.get(name, name) for name in fields}
        return {taken: fields[name] for name, taken in names.items() if taken}

    def learn(self, sent: Mapping[str, Any], refusal: str) -> bool:
        """Learns from a refusal.

        Args:
            sent: the fields of the request.
            refusal: the body of the response to it.

        Returns:
            Whether the same question may be taken in other words.
        """
        if not _UNSUPPORTED.search(refusal) or _TOO_LARGE.search(refusal):
            return False
        for name, taken in _REFUSED.items():
            if name in sent and re.search(rf"\b{name}\b", refusal):
                self._learnt[name] = taken
                return True
        return False
