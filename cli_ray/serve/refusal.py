"""Errors of the API in OpenAI's form, which its clients turn into exceptions of their own.

Whatever part of the server cannot do what a request asks raises `RefusalError`; `api` makes the response.
"""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

TYPES = {401: "authentication_error", 429: "rate_limit_error"}
"""OpenAI's `type` of an error by its status, where it is neither the request's fault nor the server's."""
RETRY_AFTER = {"Retry-After": "1"}
"""Clients wait so many seconds; OpenAI's SDK doubles them from try to try by itself."""


class RefusalError(Exception):
    """A request is answered by an error.

    Args:
        status: of HTTP.
        message: for people; holds nothing of keys and no traceback.
        param: the field that is at fault, such as `messages[0].content`.
        code: a word for programs.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """The JSON of the error."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole response."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


def lost() -> RefusalError:
    """No replica can answer, or the one that was answering is gone."""
    return RefusalError(503, "the replica of the model was lost, try again", code="replica_lost", headers=RETRY_AFTER)
