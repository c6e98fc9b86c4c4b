"""How an endpoint wants the limits of an answer: learnt from what it refuses, since servers and models differ."""

import re
from collections.abc import Mapping
from typing import Any

from cli_ray.evals.judging.verdicts import Question

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
        self._limit = "max_tokens"
        self._takes_temperature = True

    @property
    def draws(self) -> bool:
        """Whether answers are drawn at the endpoint's own temperature, so that the next may be another."""
        return not self._takes_temperature

    def decoding(self, question: Question, max_tokens: int) -> dict[str, Any]:
        """How a question is to be answered, as fields of a request."""
        fields: dict[str, Any] = {self._limit: max_tokens}
        return fields | {"temperature": question.temperature} if self._takes_temperature else fields

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
        if "max_tokens" in sent and re.search(r"\bmax_tokens\b", refusal):
            self._limit = "max_completion_tokens"
            return True
        if "temperature" in sent and re.search(r"\btemperature\b", refusal):
            self._takes_temperature = False
            return True
        return False
