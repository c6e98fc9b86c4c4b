"""The whole command, on the cluster of the tests and without one."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from ray import cloudpickle

from cli_ray.commands import doctor
from cli_ray.commands.main import main
from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.doctor import cluster
from cli_ray.doctor.cluster import on_every_node
from tests.drill.test_drill import CONFIG

PLANTED = "planted-and-never-told"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_tar(synthesize(4, seed=0, split="train"), tmp_path / "shards", shard_size=4)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.replace("SHARDS", str(tmp_path / "shards")))
    return path


def sleepy(name: str) -> None:
    time.sleep(600)


def broken(name: str) -> None:
    raise ModuleNotFoundError("No module named 'cli_ray'")


@pytest.mark.usefixtures("cluster")
@pytest.mark.slow
def test_a_cluster_is_looked_at_node_by_node(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", PLANTED)
    code = main(["doctor", str(config), "--runs-dir", str(config.parent / "runs")])
    told, error = capsys.readouterr()
    lines = {line.split()[1]: line.split()[0] for line in told.splitlines() if line.startswith(("ok", "warn", "err"))}
    assert lines["cluster"] == lines["versions"] == lines["storage"] == lines["data"] == lines["room"] == "ok"
    # The cluster of the tests has no dashboard, without which dead drivers keep their workers' place.
    assert lines["dashboard"] == "error"
    assert code == 1
    assert error.splitlines()[-1].startswith("error: 1 error and ")
    assert PLANTED not in told + error
    assert "\r" not in told
    assert "\x1b" not in told


@pytest.mark.usefixtures("cluster")
@pytest.mark.slow
def test_nodes_that_do_not_answer_are_told() -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # tests are no package that nodes could import
    late = on_every_node(sleepy, timeout_s=1).silent
    assert list(late.values()) == len(ray.nodes()) * ["no answer within 1 s"]
    lacking = cluster.silent_nodes(on_every_node(broken, timeout_s=120))
    assert len(lacking) == len(ray.nodes())
    for one in lacking:
        assert one.level == "error"
        assert one.what.endswith("ModuleNotFoundError: No module named 'cli_ray'")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli_ray", "doctor", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run(RAY_ADDRESS=f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"RAY_ADDRESS = 127.0.0.1:{port} does not answer" in done.stdout
    assert "ok       versions" in done.stdout, "this machine is looked at all the same"


def test_benchmarks_that_are_not_there_are_warnings(tmp_path: Path) -> None:
    found = list(doctor.benchmarks(str(tmp_path)))
    assert found[-1].level == "error"
    assert found[-1].what == f"0 of 18 are in {tmp_path}"
    assert {one.level for one in found[:-1]} == {"warning"}
    assert all(one.fix for one in found[:-1])
