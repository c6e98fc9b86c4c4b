"""Real jobs, on a head of their own: exit codes, last lines and the runtime environment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
READY_S = 120.0


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=5) as reply:
            return "ray_version" in json.load(reply)
    except OSError:
        return False


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """Address of the Jobs API of a head without the cluster of the other tests; it and all it started end with it."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    gcs, dashboard, agent, metrics, client = free_ports(5)
    sizes = ["--num-cpus", "4", "--object-store-memory", str(200 << 20), "--temp-dir", folder]
    ports = ["--port", str(gcs), "--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent)]
    words = ["start", "--head", "--block", *sizes, *ports, "--metrics-export-port", str(metrics)]
    process = subprocess.Popen(
        [*RAY, *words, "--ray-client-server-port", str(client)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url, until = f"http://127.0.0.1:{dashboard}", time.monotonic() + READY_S
    while not answers(url):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
    yield url
    process.send_signal(signal.SIGTERM)  # ray start --block ends what it started
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def submit(address: str, *entrypoint: str) -> subprocess.CompletedProcess[str]:
    """Runs a job to its end, from the root of the repository, as a user does."""
    words = ["job", "submit", "--address", address, "--working-dir", ".", "--runtime-env", "jobs/runtime_env.yaml"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [*RAY, *words, "--", *entrypoint], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_jobs_end_with_their_reason(head: str, tmp_path: Path) -> None:
    doctor = submit(head, sys.executable, "-m", "cli_ray", "doctor", "--runs-dir", str(tmp_path / "runs"))
    told = doctor.stdout + doctor.stderr
    assert doctor.returncode == 0, told
    assert "`ray job stop` waits 120 s for a checkpoint" in told
    assert "the State API answers and lists 1 node(s)" in told
    assert f"{tmp_path / 'runs'} can be written, read and deleted" in told
    assert "\r" not in told

    failed = submit(head, sys.executable, "jobs/train.py", str(tmp_path / "absent.toml"))
    assert failed.returncode == 1
    client = JobSubmissionClient(head)
    newest = max(client.list_jobs(), key=lambda job: job.start_time or 0)
    log = client.get_job_logs(newest.submission_id).rstrip().splitlines()
    assert log[-1] == f"error: {tmp_path / 'absent.toml'}: no such file"
    assert (newest.status, newest.driver_exit_code) == ("FAILED", 1)
