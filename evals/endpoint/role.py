"""What an endpoint is asked for, judge or evaluated model: where users have put its address and key, for messages.

`client` reads both through it; the judge stage and the API backend each have one.
"""

import os
import re
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from cli_ray.errors import UserError


@dataclass(frozen=True, slots=True)
class Role:
    """A role, in the words of its messages."""

    title: str
    """Such as `judge`."""
    url_field: str
    """Where the user has put its address."""
    model_field: str
    """Where the user has put its name for the model."""
    key_variable: str
    """The environment variable of its key; without it none is sent."""

    def address(self, base_url: str) -> httpx.URL:
        """The address of the endpoint.

        Raises:
            UserError: it is none.
        """
        try:
            address = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise UserError(f"{self.url_field} is no address: {error}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise UserError(f"{self.url_field} must begin with http:// or https:// and name a host")
        return address

    def key(self) -> SecretStr:
        """The key; empty where there is none.

        Raises:
            UserError: it cannot be sent.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise UserError(f"the key in {self.key_variable} holds characters that no key has; set it again")
        return SecretStr(key)

    def fix(self, *, has_key: bool) -> str:
        """What to do about an endpoint that refuses all questions."""
        variable = f"the environment variable {self.key_variable}"
        if has_key:
            return f"Check {self.url_field}, {self.model_field} and the key in {variable}"
        return (
            f"No key was sent: put it into {variable} if the endpoint wants one, and check {self.url_field} and "
            f"{self.model_field}"
        )
