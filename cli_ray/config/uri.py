"""URIs and addresses as config values. A config is stored beside its results, so that it must hold no secret."""

import re
from typing import Annotated

from pydantic import AfterValidator

_LOGIN = re.compile(r"://(?:\[[^\]]*\]|[^/?#:@\[]*):(?!\d+(?:[/?#]|$))[^@]*@")
"""`user:password@`; a password may hold slashes, and digits alone after the colon are a port."""
_SECRET_OPTION = re.compile(
    r"[?&][^=&]*(?:secret|token|passw|signature|(?:access|account|api)_?key|\bsig\b|\bkey\b)[^=&]*=", re.IGNORECASE
)


def _without_secrets(uri: str) -> str:
    """For folders and files. Messages hold no part of the URI."""
    if "://" in uri and (_LOGIN.search(uri) or _SECRET_OPTION.search(uri)):
        raise ValueError(
            "holds a password or key, which would be stored with the results: take it out and put it into the "
            "environment variables that the store reads, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return uri


def _without_key(url: str) -> str:
    """For endpoints, whose key may stand in a login or a query. Messages hold no part of the address."""
    if re.search(r"[@?#]", url):
        raise ValueError(
            "holds a login or a query, which would be stored with the results: give the bare address and put the "
            "key into the environment variable CLI_RAY_JUDGE_API_KEY"
        )
    return url


Uri = Annotated[str, AfterValidator(_without_secrets)]
"""A path or pyarrow URI without credentials; a user name alone (`hdfs://user@host`) and other options may stay."""
EndpointUrl = Annotated[str, AfterValidator(_without_key)]
"""Address of an endpoint, without login, query and fragment."""
