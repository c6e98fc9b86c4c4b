"""The manifests fit KubeRay's own schema and start what is promised."""

import importlib.util
import shutil
import subprocess
from copy import deepcopy
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from cli_ray.config.serving import ServeConfig
from tests.cluster.manifests import CLUSTER, JOBS, ROOT, documents, load, pinned
from tests.shared import SHARED, needs

CRDS = SHARED / "data" / "kuberay"
# `ray start --block` drains its node for so long after SIGTERM unless it is told otherwise.
RAY_DRAIN_S = 30
DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"

needs_crds = needs(CRDS)
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
Validators = dict[str, jsonschema.Draft7Validator]


def render(folder: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", str(CLUSTER / "kuberay" / folder)]
    return documents(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, Any]]:
    """The RayJob of each job script, with its cluster."""
    jobs = {}
    for name in JOBS:
        (jobs[name],) = render(name)
    return jobs


@pytest.fixture(scope="module")
def validators() -> Validators:
    """KubeRay's schema of each kind."""
    return {kind: jsonschema.Draft7Validator(schema(kind)) for kind in ("RayCluster", "RayJob")}


def schema(kind: str) -> Any:
    """KubeRay's schema of a kind, made to refuse fields that it does not name."""
    text = (CRDS / f"ray.io_{kind.lower()}s.yaml").read_text()
    definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
    return strict(version["schema"]["openAPIV3Schema"])


def strict(node: Any) -> Any:
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: strict(value) for key, value in node.items()}
    if closed.get("type") == "object" and "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture
def manifest() -> dict[str, Any]:
    """The RayCluster as it lies in the folder."""
    return load("kuberay/raycluster/raycluster.yaml")


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods of a RayCluster's spec, the head's first."""
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [container for pod in pods(spec) for container in pod["containers"]]


@needs_crds
def test_the_cluster_fits_the_schema(manifest: dict[str, Any], validators: Validators) -> None:
    validators["RayCluster"].validate(manifest)


@needs_crds
def test_the_schema_refuses_mistakes(manifest: dict[str, Any], validators: Validators) -> None:
    mistyped, wrong, unknown = deepcopy(manifest), deepcopy(manifest), deepcopy(manifest)
    mistyped["spec"]["headGroupSpec"]["template"]["spec"]["container"] = []
    wrong["spec"]["workerGroupSpecs"][0]["maxReplicas"] = "4"
    unknown["spec"]["authOptions"]["mode"] = "password"
    assert not any(validators["RayCluster"].is_valid(one) for one in (mistyped, wrong, unknown))


@needs_crds
@needs_kubectl
@pytest.mark.parametrize("name", JOBS)
def test_the_jobs_fit_the_schema(name: str, rendered: dict[str, dict[str, Any]], validators: Validators) -> None:
    validators["RayJob"].validate(rendered[name])


@needs_kubectl
@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_its_script_on_the_cluster_of_the_folder(name: str, rendered: dict[str, dict[str, Any]]) -> None:
    job, (cluster,) = rendered[name], render("raycluster")
    assert (job["kind"], job["metadata"]["name"]) == ("RayJob", name)
    script, *arguments = job["spec"]["entrypoint"].split()[1:]
    assert script == f"/home/ray/cli_ray/jobs/{name}.py"
    paths = [argument for argument in arguments if "/" in argument]
    assert paths
    assert all(path.startswith("/shared/") for path in paths)
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


@needs_kubectl
@pytest.mark.parametrize("name", JOBS)
def test_a_failed_job_runs_again_and_a_stopped_one_gets_time(name: str, rendered: dict[str, dict[str, Any]]) -> None:
    spec = rendered[name]["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert int(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > RAY_DRAIN_S


@needs_crds
@needs_kubectl
def test_a_server_has_the_cluster_of_the_folder_and_the_application_of_the_jobs(validators: Validators) -> None:
    (service,), (cluster,) = render("serve"), render("raycluster")
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert service["spec"].keys() == {"rayClusterConfig", "serveConfigV2"}
    assert service["spec"]["rayClusterConfig"] == cluster["spec"]
    validators["RayCluster"].validate({**cluster, "spec": service["spec"]["rayClusterConfig"]})
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == yaml.safe_load((ROOT / "jobs/serve.yaml").read_text())


def test_the_application_of_the_jobs_can_be_built(manifest: dict[str, Any]) -> None:
    """Its fields are those of Ray Serve and of our config, and the head opens its port."""
    deployed = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "jobs/serve.yaml").read_text()))
    (application,) = deployed.applications
    assert ServeConfig.model_validate(application.args).max_replicas > 1
    module, _, builder = application.import_path.partition(":")
    assert importlib.util.find_spec(module)
    assert f"def {builder}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()
    (head, *_) = containers(manifest["spec"])
    assert {"name": "serve", "containerPort": deployed.http_options.port} in head["ports"]


@needs_kubectl
def test_what_is_shared_outlives_jobs_and_clusters() -> None:
    kinds = {kind["kind"] for kind in render("shared")}
    assert kinds == {"PersistentVolumeClaim", "Service", "StatefulSet"}
    assert [one["kind"] for one in render("raycluster")] == ["RayCluster"]


def test_the_version_is_the_pinned_one(manifest: dict[str, Any]) -> None:
    assert manifest["spec"]["rayVersion"] == pinned("ray")


def test_gpu_nodes_grow_from_none_and_the_head_has_no_work(manifest: dict[str, Any]) -> None:
    spec = manifest["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == 0 < group["maxReplicas"]
        assert all("nvidia.com/gpu" in one["resources"]["limits"] for one in group["template"]["spec"]["containers"])


def test_spot_nodes_come_first_and_are_given_time(manifest: dict[str, Any]) -> None:
    on_demand, spot = manifest["spec"]["workerGroupSpecs"]
    assert spot["priority"] > on_demand.get("priority", 0)
    tolerated = {one["key"] for one in spot["template"]["spec"]["tolerations"]}
    terms = spot["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    wanted = {one["key"] for term in terms["nodeSelectorTerms"] for one in term["matchExpressions"]}
    assert wanted
    assert wanted < tolerated
    assert not wanted & {one["key"] for one in on_demand["template"]["spec"]["tolerations"]}
    for pod in pods(manifest["spec"]):
        (drain,) = [
            one for one in pod["containers"][0]["env"] if one["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
        ]
        assert RAY_DRAIN_S < float(drain["value"]) < pod["terminationGracePeriodSeconds"]


def test_pods_are_bounded_watched_and_not_root(manifest: dict[str, Any]) -> None:
    for pod in pods(manifest["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["restartPolicy"] == "Never", "the autoscaler v2 replaces pods itself"
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
        assert "persistentVolumeClaim" in volumes["shared"]
    for container in containers(manifest["spec"]):
        assert {"readinessProbe", "livenessProbe"} <= container.keys()
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/shared", "/dev/shm"}


def test_the_head_can_be_replaced(manifest: dict[str, Any]) -> None:
    redis = documents((CLUSTER / "kuberay/shared/redis.yaml").read_text())
    service = next(one for one in redis if one["kind"] == "Service")
    address = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert manifest["spec"]["gcsFaultToleranceOptions"]["redisAddress"] == address


def test_storage_is_one_for_all_nodes(manifest: dict[str, Any]) -> None:
    claim = load("kuberay/shared/storage.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    mounted = [volume for pod in pods(manifest["spec"]) for volume in pod["volumes"] if volume["name"] == "shared"]
    assert {one["persistentVolumeClaim"]["claimName"] for one in mounted} == {claim["metadata"]["name"]}


def test_secrets_come_from_a_secret_alone(manifest: dict[str, Any]) -> None:
    spec = manifest["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "cli-ray"}
    assert "value" not in spec["gcsFaultToleranceOptions"]["redisPassword"]
    for container in containers(spec):
        secrets = {one["name"]: one for one in container["env"] if one["name"].endswith(("_TOKEN", "_KEY"))}
        assert {"HF_TOKEN", "WANDB_API_KEY"} <= secrets.keys()
        assert all(one["valueFrom"]["secretKeyRef"]["optional"] and "value" not in one for one in secrets.values())
    texts = [path.read_text() for path in CLUSTER.rglob("*.yaml")]
    assert not any("kind: Secret" in text for text in texts)
