"""Pictures from the web, where a person asked for it: within limits, and from public addresses alone.

A service that reads what strangers name would otherwise read its own network for them (SSRF). Called by `pictures`.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from cli_ray.inference.request import BadRequestError

SECONDS = 20.0
"""For all of a picture, redirects included."""
_STEP_S = 5.0
"""For one connection, or one piece of what it reads."""
REDIRECTS = 3
_HEADERS = [("Accept", "image/*"), ("Accept-Encoding", "identity"), ("User-Agent", "cli-ray"), ("Connection", "close")]
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_SHOWN = 100
"""Characters of an address that are shown."""


def fetch(url: str, limit_bytes: int) -> bytes:
    """What lies at a web address.

    Args:
        url: http or https.
        limit_bytes: of what is read.

    Raises:
        BadRequestError: it cannot be read, takes too long, is too large, or is not at a public address.
    """
    until = time.monotonic() + SECONDS
    with httpcore.ConnectionPool(network_backend=_Public(until)) as pool:
        for _ in range(REDIRECTS + 1):
            try:
                status, location, body = _read(pool, url, limit_bytes)
            except BadRequestError:
                raise
            except Exception as error:  # whatever a stranger's server does to the client
                raise _unread(url, f"{type(error).__name__} {error}".strip()) from error
            if status == 200:
                return body
            if location is None:
                raise _unread(url, f"it answers {status}")
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("http", "https"):
                raise _unread(url, "it is no web address")
    raise _unread(url, f"it is behind more than {REDIRECTS} redirects")


def _read(pool: httpcore.ConnectionPool, url: str, limit_bytes: int) -> tuple[int, str | None, bytes]:
    """Status, where it leads on, and the content."""
    with pool.stream("GET", url, headers=_HEADERS) as response:
        named = {name.lower(): value for name, value in response.headers}
        if 300 <= response.status < 400 and b"location" in named:
            return response.status, named[b"location"].decode("latin-1"), b""
        if response.status != 200:
            return response.status, None, b""
        content = bytearray()
        for chunk in response.iter_stream():
            content += chunk
            if len(content) > limit_bytes:
                raise _unread(url, f"it is above {limit_bytes / 2**20:g} MiB")
        return 200, None, bytes(content)


def _unread(url: str, why: str) -> BadRequestError:
    return BadRequestError(f"the picture at {url[:_SHOWN]} cannot be read: {why}")


class _Public(httpcore.NetworkBackend):
    """Connects to public addresses alone: the very address that was looked at, for a name may change its mind.

    Args:
        until: when all must be read.
    """

    def __init__(self, until: float) -> None:
        self._until = until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        for address in found:
            if not is_public(address):
                raise BadRequestError(f"{host} is at {address}, which is no public address: give the picture as a file")
        stream = httpcore.SyncBackend().connect_tcp(min(found), port, _left(self._until), local_address, socket_options)
        return _Timed(stream, self._until)


class _Timed(httpcore.NetworkStream):
    """A connection that ends at a time, however slowly the other side writes.

    Args:
        stream: the connection.
        until: that time.
    """

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, _left(self._until)), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    """Seconds that the next step may take."""
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout(f"more than {SECONDS:g} s")
    return min(left, _STEP_S)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet. Those of version 6 that carry one of version 4 are not."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and (ip.sixtofour or ip not in _GLOBAL_UNICAST):
        return False
    return ip.is_global and not ip.is_multicast
