"""The scripts of cluster/local start Ray nodes, and end all of what they started."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.local import Local, scripts
from tests.cluster.manifests import CLUSTER

SMALL = ("--num-cpus", "1", "--object-store-memory", str(80 * 1024**2))
JOB = """
import os, ray
ray.init(log_to_driver=False)
nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
folder = ray.remote(lambda: os.getcwd())
folders = {ray.get(folder.options(label_selector={"ray.io/node-id": node}).remote()) for node in nodes}
print("nodes:", len(nodes), "working directories:", len(folders | {os.getcwd()}))
"""


@pytest.fixture
def local() -> Iterator[Local]:
    with scripts() as one:
        yield one


@pytest.mark.long
def test_nodes_start_take_a_job_and_end(local: Local, tmp_path: Path) -> None:
    for script in (("start.sh", *SMALL), ("nodes.sh", "2", *SMALL)):
        started = local.script(*script)
        assert started.returncode == 0, started.stderr
    (tmp_path / "job.py").write_text(JOB)
    submit = ("ray", "job", "submit", "--address", local.address, "--working-dir", str(tmp_path))
    job = local.run(*submit, "--", sys.executable, "job.py")
    assert job.returncode == 0, job.stdout + job.stderr
    assert "nodes: 3 working directories: 3" in job.stdout.splitlines()
    assert local.processes()

    second = local.script("start.sh")
    assert (second.returncode, "started already" in second.stderr) == (1, True)

    stopped = local.script("stop.sh")
    assert stopped.returncode == 0, stopped.stderr
    assert local.processes() == []
    assert not local.folder.exists()


def test_nodes_need_a_head_and_a_number(local: Local) -> None:
    without_head, without_number = local.script("nodes.sh", "2"), local.script("nodes.sh", "two")
    assert (without_head.returncode, without_number.returncode) == (1, 1)
    assert "cluster/local/start.sh" in without_head.stderr
    assert "number of nodes" in without_number.stderr


def test_the_reason_is_told_when_a_head_does_not_start(local: Local) -> None:
    failed = local.script("start.sh", "--num-cpus", "many")
    assert failed.returncode == 1
    assert "Invalid value for '--num-cpus'" in failed.stderr
    assert "head did not start; clean up: cluster/local/stop.sh" in failed.stderr


def test_stopping_nothing_is_no_mistake(local: Local) -> None:
    assert local.script("stop.sh").returncode == 0


@pytest.mark.parametrize("script", sorted((CLUSTER / "local").glob("*.sh")), ids=lambda path: path.name)
def test_it_is_a_shell_script(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--external-sources", "--source-path=SCRIPTDIR", str(script)], check=True)
