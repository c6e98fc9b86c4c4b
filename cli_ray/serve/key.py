"""The key that requests must bring. It is read from the environment alone, and only its digest goes to the cluster:
Ray keeps the arguments of deployments, and shows the environment of a job in its dashboard."""

import hashlib
import hmac
import os
import re

from cli_ray.errors import UserError

VARIABLE = "CLI_RAY_API_KEY"
"""Environment variable that holds the key."""


def key_digest() -> bytes:
    """The digest of the key in the environment; empty where there is none.

    Raises:
        UserError: no header can carry it.
    """
    key = os.environ.get(VARIABLE, "")
    if not re.fullmatch(r"[!-~]*", key):
        raise UserError(f"the key in {VARIABLE} holds characters that no key has; set it again")
    return hashlib.sha256(key.encode()).digest() if key else b""


def is_open(digest: bytes, authorization: str) -> bool:
    """Whether a request may pass.

    Args:
        digest: of the key; any request passes an empty one.
        authorization: header of the request, `Bearer KEY`. Compared in a time that tells nothing about the key.
    """
    scheme, _, given = authorization.partition(" ")
    is_right = hmac.compare_digest(hashlib.sha256(given.strip().encode()).digest(), digest)
    return not digest or (scheme.lower() == "bearer" and is_right)
