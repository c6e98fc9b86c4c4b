"""The launcher files are what Ray's own schema asks for."""

from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.manifests import CLUSTER, load

CLOUDS = ("aws", "gcp")


@pytest.fixture(params=CLOUDS)
def launcher(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A launcher file as Ray completes it."""
    prepared: dict[str, Any] = prepare_config(load(f"vm/{request.param}.yaml"))
    return prepared


def test_it_fits_the_schema_of_ray(launcher: dict[str, Any]) -> None:
    validate_config(launcher)


def test_the_schema_refuses_what_ray_does_not_know(launcher: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="mistyped"):
        validate_config(launcher | {"mistyped": 1})


def test_the_head_has_no_work(launcher: dict[str, Any]) -> None:
    head = launcher["available_node_types"][launcher["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert any("--head --num-cpus 0" in command for command in launcher["head_start_ray_commands"])


def test_gpu_machines_grow_from_none_and_spot_comes_first(launcher: dict[str, Any]) -> None:
    types = launcher["available_node_types"]
    workers = {name: types[name] for name in types if name != launcher["head_node_type"]}
    assert all(one["min_workers"] == 0 < one["max_workers"] for one in workers.values())
    assert all(one["resources"]["GPU"] > 0 for one in workers.values())
    assert workers["spot"]["priority"] > workers["on_demand"].get("priority", 0)
    assert workers["spot"]["labels"] == {"ray.io/market-type": "spot"}


def test_spot_machines_are_asked_for_as_such() -> None:
    types = {cloud: load(f"vm/{cloud}.yaml")["available_node_types"] for cloud in CLOUDS}
    assert types["aws"]["spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gcp"]["spot"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
    assert "InstanceMarketOptions" not in types["aws"]["on_demand"]["node_config"]
    assert "provisioningModel" not in types["gcp"]["on_demand"]["node_config"]["scheduling"]


def test_a_token_is_asked_for_and_is_in_no_file(launcher: dict[str, Any]) -> None:
    assert "--env RAY_AUTH_MODE=token" in launcher["docker"]["run_options"]
    assert launcher["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("--dashboard-host 127.0.0.1" in command for command in launcher["head_start_ray_commands"])
    texts = [(CLUSTER / "vm" / f"{cloud}.yaml").read_text() for cloud in CLOUDS]
    assert not any("RAY_AUTH_TOKEN" in text or "aws_secret" in text.lower() for text in texts)


def test_storage_is_shared_with_the_container(launcher: dict[str, Any]) -> None:
    assert "--volume /shared:/shared" in launcher["docker"]["run_options"]
    assert any(
        command.endswith("/shared") and "mount -t nfs" in command for command in launcher["initialization_commands"]
    )


def test_nothing_is_installed_over_the_image(launcher: dict[str, Any]) -> None:
    assert load("vm/aws.yaml")["setup_commands"] == load("vm/gcp.yaml")["setup_commands"] == []
    assert not any("which ray" in command for command in launcher["setup_commands"])
