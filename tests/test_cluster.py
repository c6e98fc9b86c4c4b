"""Joining a cluster, with no cluster at all."""

import signal
from collections.abc import Iterator

import pytest
import ray

from cli_ray import cluster
from cli_ray.errors import StoppedError, UserError
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
    with pytest.raises(StoppedError, match="stopped by SIGTERM; the same command goes on") as stopped:
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.exit_code == 143


def test_an_address_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"RAY_ADDRESS = {address} does not answer"):
        cluster.connect(1)
