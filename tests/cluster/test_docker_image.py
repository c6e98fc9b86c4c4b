"""The image has the versions that the tests were run with, and nothing that does not belong into it."""

import re
from fnmatch import fnmatch

import pytest

from tests.cluster.manifests import CLUSTER, ROOT, documents, image_tag, load, pinned

DOCKERFILE = (CLUSTER / "docker" / "Dockerfile").read_text()
IGNORED = (CLUSTER / "docker" / "Dockerfile.dockerignore").read_text().split()


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.removeprefix(name).strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_ray_and_python_are_the_pinned_ones() -> None:
    (base,) = instructions("ARG")
    requires = re.search(r"on Python (\d+)\.(\d+)", (ROOT / "constraints.txt").read_text())
    assert requires is not None
    python = "".join(requires.groups())
    assert re.fullmatch(rf"BASE=rayproject/ray:{re.escape(pinned('ray'))}-py{python}-cu\d+", base), base


def test_all_packages_are_pinned() -> None:
    installs = [line for line in instructions("RUN") if "pip install" in line]
    assert installs
    assert all("--constraint constraints.txt" in line for line in installs)


def test_its_user_is_that_of_the_pods() -> None:
    uid, gid = instructions("USER")[-1].split(":")
    head = load("kuberay/raycluster/raycluster.yaml")["spec"]["headGroupSpec"]["template"]["spec"]
    assert (head["securityContext"]["runAsUser"], head["securityContext"]["runAsGroup"]) == (int(uid), int(gid))
    assert int(uid) != 0


def test_no_secret_is_built_in() -> None:
    assert not re.search(r"TOKEN|PASSWORD|SECRET|API_KEY", DOCKERFILE)
    assert instructions("ENV") == ["RAY_TRAIN_ENABLE_STATE_TRACKING=1"]


@pytest.mark.parametrize("path", ["runs/first/config.json", ".git/config", ".env", "tests/conftest.py"])
def test_what_is_not_asked_for_stays_out(path: str) -> None:
    assert IGNORED[0] == "*"
    kept = [pattern[1:] for pattern in IGNORED if pattern.startswith("!")]
    assert not any(fnmatch(path, pattern) or fnmatch(path, f"{pattern}/*") for pattern in kept)
    assert all((ROOT / pattern).exists() for pattern in kept)


def test_all_clusters_take_this_image() -> None:
    (image,) = load("kuberay/raycluster/kustomization.yaml")["images"]
    wanted = f"{image['newName']}:{image['newTag']}"
    assert wanted.endswith(f"/cli-ray:{image_tag()}")
    assert {load(f"vm/{cloud}.yaml")["docker"]["image"] for cloud in ("aws", "gcp")} == {wanted}
    text = "".join(path.read_text() for path in CLUSTER.rglob("README.md"))
    assert set(re.findall(r"cli-ray:([\d.]+\d)", text + DOCKERFILE)) == {image_tag()}


def test_every_yaml_file_can_be_read() -> None:
    assert all(documents(path.read_text()) for path in CLUSTER.rglob("*.yaml"))
