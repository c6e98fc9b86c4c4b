"""Images of http and https addresses, where the config allows them.

A server that fetches what strangers name can be made to ask machines that only it reaches. So each connection goes to
an address of the public internet that was looked up for it, on the usual ports, and no redirect is followed.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

from cli_ray.config.serving import LimitsConfig
from cli_ray.serve.pictures import check_size, refused

FETCH_S = 10.0
"""Seconds in which an image must arrive."""
PORTS = {"http": 80, "https": 443}


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """Connections to public addresses alone. The address that is looked at is the one that is used, so that a name
    cannot mean another machine a moment later."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(map(is_public, addresses)):
            raise httpcore.ConnectError("no public address")
        return await self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refused."""
        raise httpcore.ConnectError("no public address")

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await self._backend.sleep(seconds)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet. Those of version 6 that carry one of version 4 are not."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and (parsed.sixtofour or parsed not in _GLOBAL_UNICAST):
        return False
    return parsed.is_global and not parsed.is_multicast


_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


async def fetch(url: str, where: str, limits: LimitsConfig) -> bytes:
    """The bytes that a public address gives.

    Args:
        url: begins with `http://` or `https://`.
        where: the message, for errors.
        limits: of the server.

    Raises:
        RefusalError: it is not public, does not answer with a body in time, redirects, or is too large.
    """
    try:
        split = urlsplit(url)
        if split.username is not None or split.port not in (None, PORTS[split.scheme.lower()]):
            raise refused(where, "the address of an image must have no login and the usual port")
        async with asyncio.timeout(FETCH_S), httpcore.AsyncConnectionPool(network_backend=PublicNetwork()) as pool:
            return await _read(pool, url, where, limits)
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError, OSError):
        # One message for all: which machines answer is nobody's business.
        raise refused(where, "the image cannot be fetched from its address") from None
    except (httpcore.UnsupportedProtocol, ValueError, TypeError):
        raise refused(where, "the address of the image is none") from None


async def _read(pool: httpcore.AsyncConnectionPool, url: str, where: str, limits: LimitsConfig) -> bytes:
    async with pool.stream("GET", url) as response:
        if response.status != 200:
            detail = f"its address answers with status {response.status}; redirects are not followed"
            raise refused(where, f"the image cannot be fetched: {detail}")
        content = bytearray()
        async for piece in response.aiter_stream():
            content += piece
            check_size(len(content), where, limits)
        return bytes(content)
