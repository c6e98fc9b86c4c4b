"""Capacity of nodes, and of a cluster that grows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from cli_ray import capacity
from cli_ray.autoscaler import Outlook, adds_nodes
from cli_ray.capacity import await_room, refuse_hopeless
from cli_ray.config import ClusterConfig
from cli_ray.errors import ClusterError, UserError
from cli_ray.need import Need, Resources, held, lacking, need_of

SMALL: Resources = {"CPU": 2.0}
LARGE: Resources = {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("need", "nodes", "fits"),
    [
        (Need(3, 1), [SMALL, SMALL], True),
        (Need(1, 3), [SMALL, SMALL], False),  # four CPUs in all, but no node has three
        (Need(3, 1, beside=1), [SMALL, SMALL], True),
        (Need(4, 1, beside=1), [SMALL, SMALL], False),
        (Need(2, 1.5, beside=1), [SMALL, SMALL], False),  # a CPU is left, in two halves
        (Need(2, 1, 1, beside=2), [LARGE], True),
        (Need(3, 1, 0.75), [LARGE], False),  # half a GPU is left, in two quarters
        (Need(4, 1, 0.5), [LARGE], True),
        (Need(1, 1), [], False),
    ],
)
def test_places_lie_on_one_node_each(need: Need, nodes: list[Resources], fits: bool) -> None:
    assert need.fits(nodes) == fits


def test_what_nodes_lack_is_told_with_the_field_to_change() -> None:
    assert lacking(ClusterConfig(num_workers=2), [LARGE]) == ""
    assert "asks for 3 GPUs, the cluster has 2" in lacking(ClusterConfig(num_workers=3), [LARGE])
    assert "asks for 4 CPUs and the stream" in lacking(ClusterConfig(num_workers=4, gpus_per_worker=0), [SMALL, SMALL])
    wide = ClusterConfig(gpus_per_worker=0, cpus_per_worker=3)
    assert "1 x 3 CPU, and 1 CPU for the stream, each on one node" in lacking(wide, [SMALL, SMALL])
    elastic = ClusterConfig(num_workers=(1, 8), gpus_per_worker=0)
    assert need_of(elastic).places == 1
    assert need_of(elastic, [SMALL, SMALL]).places == 4, "Ray Train would start as many"


def test_an_autoscaler_is_told_from_the_mirror_of_a_fixed_cluster() -> None:
    assert not adds_nodes(b"{}")
    assert not adds_nodes(json.dumps({"autoscaler_report": {"active_nodes": {"node_ab12": 1}}}).encode())
    assert adds_nodes(json.dumps({"autoscaler_report": {"active_nodes": {"head": 1}}}).encode())


def test_what_an_autoscaler_does_is_said() -> None:
    said: dict[str, Any] = {"seen": 4, "starting": 2, "failure": ""}
    outlooks = [said, said | {"starting": 0}, said | {"failure": "no capacity"}, said | {"seen": 0}]
    told = [str(Outlook(now=5, hopeless=frozenset(), hopeless_bundles=(), **one)) for one in outlooks]
    assert told == [
        "its autoscaler is starting 2 nodes",
        "its autoscaler is starting no node",
        "its autoscaler is starting 2 nodes, and could not start some: no capacity",
        "its autoscaler gives no sign of life (see monitor.log among the logs of the head)",
    ]


@pytest.fixture
def growing() -> Iterator[None]:
    """A driver on a cluster that grows to two nodes of two CPUs; the session's own is left for the time."""
    from tests.growing import growing_cluster

    before = ray.get_runtime_context().gcs_address if ray.is_initialized() else ""
    ray.shutdown()
    with growing_cluster({"small": {"resources": {"CPU": 2}, "max_workers": 2}}, idle_s=6) as address:
        ray.init(address=address, logging_level="warning", log_to_driver=False)
        yield
    if before:
        ray.init(address=before, logging_level="warning", log_to_driver=False)


@pytest.mark.slow
@pytest.mark.usefixtures("growing")
def test_a_cluster_that_grows_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"no such nodes\. The cluster grows, but its autoscaler has no nodes for this"):
        await_room(Need(1, 3), "no such nodes")
    with pytest.raises(UserError, match=r"no such nodes\. The cluster grows, but its autoscaler has no nodes for this"):
        refuse_hopeless(Need(1, 3), "no such nodes")
    assert not ray.cluster_resources().get("CPU")
    refuse_hopeless(Need(1, 2), "no such nodes")
    assert await_room(Need(3, 1, beside=1), "no such nodes") == 1
    assert ray.cluster_resources()["CPU"] == 4
    told = capsys.readouterr().out
    assert "waiting for room since 0 s: asked for 3 x 1 CPU, and 1 CPU for the stream; its autoscaler" in told
    assert await_room(Need(1, 1, beside=1), "no such nodes", copies=5) == 2, "a node holds one"
    monkeypatch.setattr(capacity, "LOOK_S", 0.1)
    with pytest.raises(ClusterError, match=r"no room within 0\.5 s for 1 x 3 CPU: .*The same command goes on"):
        await_room(Need(1, 3), "no such nodes", timeout_s=0.5)


@pytest.mark.parametrize(
    ("gpus", "free", "places"), [(1, 0.9, 0), (0.5, 0.5, 1), (0.4, 1.9, 4), (0.4, 0.3, 0), (2, 3.5, 1)]
)
def test_a_part_of_a_gpu_that_is_free_holds(gpus: float, free: float, places: int) -> None:
    assert held({"CPU": 9.0, "GPU": free}, 1, gpus) == places
    assert held({}, 1, gpus) == 0
