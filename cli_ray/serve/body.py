"""The body of a request, read within a size and a time. `api` calls it."""

import asyncio

from starlette.requests import Request

from cli_ray.config.serving import LimitsConfig
from cli_ray.serve.refusal import RefusalError

JSON = "application/json"


async def read_body(request: Request, limits: LimitsConfig) -> bytes:
    """All of the body.

    Raises:
        RefusalError: it is no JSON by its header (415), too large (413) or too slow (408).
        ClientDisconnect: of Starlette, when its end does not come.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        raise RefusalError(415, f"the body must be JSON; send the header Content-Type: {JSON}")
    declared = request.headers.get("Content-Length", "")
    body, size = bytearray(), int(declared[:20]) if declared.isdecimal() else 0
    try:
        async with asyncio.timeout(limits.upload_s):
            # What is too large is read as well and thrown away, for clients look for an answer when they have sent all.
            async for piece in request.stream():
                size = max(size, len(body) + len(piece))
                body += piece if size <= limits.body_bytes else b""
    except TimeoutError:
        if size <= limits.body_bytes:
            raise RefusalError(408, f"the body did not arrive within {limits.upload_s:g} s") from None
    if size > limits.body_bytes:
        raise RefusalError(413, f"the body is too large, this server allows {limits.body_MiB:g} MiB")
    return bytes(body)
