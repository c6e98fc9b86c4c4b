"""Images of addresses: only public machines are asked."""

import asyncio
import socket
from typing import Any

import pytest

from cli_ray.config.serving import LimitsConfig
from cli_ray.serve.fetching import fetch, is_public
from cli_ray.serve.refusal import RefusalError
from tests.serve.server import config_of, serving

PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "ff02::1"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_within_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_addresses_of_the_internet_are_public() -> None:
    assert is_public("93.184.216.34")
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x.png",
        "http://2130706433/x.png",
        "http://[::1]/x.png",
        "http://localhost/x.png",
        "http://name:password@127.0.0.1/",
        "http://127.0.0.1:6379/",
        "https://169.254.169.254/latest",
        "http://[::1/",
        "http:///x.png",
    ],
)
def test_no_machine_within_is_asked(url: str) -> None:
    with pytest.raises(RefusalError) as error:
        asyncio.run(fetch(url, "messages[0]", LimitsConfig()))
    assert error.value.status == 400


def test_a_name_that_leads_to_public_and_private_machines_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in ("93.184.216.34", "127.0.0.1")]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", both)
    with pytest.raises(RefusalError, match="cannot be fetched"):
        asyncio.run(fetch("http://example.com/x.png", "messages[0]", LimitsConfig()))


def test_an_address_is_refused_by_the_api_where_it_is_not_public() -> None:
    with serving(config_of(image_urls=True)) as server:
        part = {"type": "image_url", "image_url": {"url": f"{server.url}/health"}}
        asked = {"model": "echo", "messages": [{"role": "user", "content": [part]}]}
        response = server.client.post("/v1/chat/completions", json=asked)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_image")
