"""Joining a cluster, with no cluster at all."""

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from cli_ray import cluster
from cli_ray.errors import UserError
from cli_ray.signals import received
from tests.ports import free_ports


@pytest.fixture
def sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_stops_what_uses_a_cluster_with_words(monkeypatch: pytest.MonkeyPatch, sigterm: None) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **arguments: None)
    monkeypatch.setattr(cluster, "dead_address", lambda: "")
    cluster.connect(1)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert received() == signal.SIGTERM


def test_sigterm_while_ray_connects_is_no_exit_of_rays(monkeypatch: pytest.MonkeyPatch, sigterm: None) -> None:
    def init(**arguments: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray does
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "dead_address", lambda: "")
    with pytest.raises(KeyboardInterrupt):
        cluster.connect(1)
    assert received() == signal.SIGTERM


def test_an_address_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"RAY_ADDRESS = {address} does not answer"):
        cluster.connect(1)
