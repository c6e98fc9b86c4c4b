"""The settings of fast networks, which are comments until somebody wants them."""

import subprocess
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.manifests import CLUSTER, documents, uncommented
from tests.cluster.test_kuberay import needs_crds, schema

MARKS = {"efa": "vpc.amazonaws.com/efa", "ib": "rdma/rdma_shared_device_a"}


@pytest.mark.parametrize(("cloud", "mark"), [("aws", "efa"), ("gcp", "gvnic")])
def test_launcher_files_with_it_fit_the_schema_of_ray(cloud: str, mark: str) -> None:
    (config,) = documents(uncommented(f"vm/{cloud}.yaml", mark))
    prepared = prepare_config(config)
    validate_config(prepared)
    assert any("NCCL_SOCKET_IFNAME" in option for option in prepared["docker"]["run_options"])


def test_each_card_of_a_machine_of_aws_is_asked_for() -> None:
    (config,) = documents(uncommented("vm/aws.yaml", "efa"))
    for name in ("spot", "on_demand"):
        cards = config["available_node_types"][name]["node_config"]["NetworkInterfaces"]
        assert [one["NetworkCardIndex"] for one in cards] == [0, 1, 2, 3]
        assert [one["DeviceIndex"] for one in cards] == [0, 1, 1, 1]
        assert all(one["SubnetId"] and one["Groups"] for one in cards), "Ray's launcher refuses cards without"
    assert config["provider"]["use_internal_ips"]
    assert "SubnetId" not in config["available_node_types"]["spot"]["node_config"]


@needs_crds
@pytest.mark.parametrize("mark", MARKS)
def test_pods_with_it_fit_the_schema_of_kuberay(mark: str) -> None:
    (cluster,) = documents(uncommented("kuberay/raycluster/raycluster.yaml", mark))
    jsonschema.Draft7Validator(schema("RayCluster")).validate(cluster)
    for group in cluster["spec"]["workerGroupSpecs"]:
        resources: dict[str, Any] = group["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"][MARKS[mark]] == resources["limits"][MARKS[mark]]


@pytest.mark.parametrize("mark", ["efa", "ib"])
def test_the_batch_script_with_it_is_a_script(mark: str) -> None:
    text = uncommented("slurm/ray.sbatch", mark)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert (
        text.index("export NCCL") < text.index("srun ")
        if mark == "ib"
        else text.index("FI_PROVIDER") < text.index("srun ")
    )


def test_the_image_takes_the_plugin_as_root_and_runs_as_ray() -> None:
    lines = uncommented("docker/Dockerfile", "efa").splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER root", "USER 1000:100"]
    assert lines.index("USER root") < next(at for at, line in enumerate(lines) if "efa_installer" in line)


def test_the_readmes_say_how_to_see_what_nccl_takes() -> None:
    for folder in ("vm", "kuberay", "slurm"):
        assert "NCCL_DEBUG=INFO" in (CLUSTER / folder / "README.md").read_text(), folder
