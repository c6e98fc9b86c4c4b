"""Joining a cluster, with no cluster at all."""

import os
import platform
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from cli_ray import cluster, ray_private
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
    monkeypatch.setattr(cluster, "running_address", lambda: "")
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
    monkeypatch.setattr(cluster, "running_address", lambda: "")
    with pytest.raises(KeyboardInterrupt):
        cluster.connect(1)
    assert received() == signal.SIGTERM


def test_an_address_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"RAY_ADDRESS = {address} does not answer"):
        cluster.connect(1)


def test_the_address_of_a_dashboard_is_told_from_that_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    with pytest.raises(UserError, match=r"is an address for jobs: export it as RAY_API_SERVER_ADDRESS, which `ray job"):
        cluster.connect(1)


def test_local_names_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("local", "auto", ""):
        monkeypatch.setenv("RAY_ADDRESS", value)
        assert not cluster.is_named()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert cluster.running_address() == ""


@pytest.fixture
def no_mode(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in which nobody has set RAY_AUTH_MODE; Ray's copy of it is left alone."""
    before = os.environ.pop("RAY_AUTH_MODE", None)
    monkeypatch.setattr(ray_private, "reread_auth_mode", lambda: None)
    yield
    os.environ.pop("RAY_AUTH_MODE", None)
    if before is not None:
        os.environ["RAY_AUTH_MODE"] = before


@pytest.mark.usefixtures("no_mode")
@pytest.mark.parametrize(
    ("has_token", "takes_it", "fault"),
    [(True, True, ""), (True, False, "RAY_AUTH_MODE is token"), (False, False, "RAY_AUTH_MODE is not set")],
)
def test_a_cluster_that_wants_a_token_gets_that_of_this_machine_or_is_told(
    monkeypatch: pytest.MonkeyPatch, has_token: bool, takes_it: bool, fault: str
) -> None:
    mine = (ray.__version__, platform.python_version())

    def versions(address: str, timeout_s: float) -> tuple[str, str] | None:
        return mine if takes_it and os.environ.get("RAY_AUTH_MODE") == "token" else None

    monkeypatch.setattr(cluster, "answers", lambda address: True)
    monkeypatch.setattr(ray_private, "has_token", lambda: has_token)
    monkeypatch.setattr(ray_private, "versions", versions)
    told = cluster.fault_of("10.0.0.1:6379")
    assert bool(told) == bool(fault)
    assert fault in told
    assert not told or "export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in told


@pytest.mark.parametrize("versions", [("2.59.0", platform.python_version()), (ray.__version__, "3.9.1")])
def test_a_cluster_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch, versions: tuple[str, str]) -> None:
    monkeypatch.setattr(cluster, "answers", lambda address: True)
    monkeypatch.setattr(ray_private, "versions", lambda address, timeout_s: versions)
    assert f"has Ray {versions[0]} and Python {versions[1]}, this process" in cluster.fault_of("10.0.0.1:6379")
