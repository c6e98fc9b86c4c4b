"""Real jobs, on a head of their own: exit codes, last lines, the runtime environment, and a rank that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli_w
from ray.job_submission import JobSubmissionClient

from tests.jobs.heads import RAY, Head
from tests.train.training import begins_of, config_of, untimed

ROOT = Path(__file__).parents[2]


def start(head: Head, *entrypoint: str) -> subprocess.Popen[str]:
    """Submits a job from the root of the repository, as a user does, and follows it."""
    words = ["job", "submit", "--address", head.url, "--working-dir", ".", "--runtime-env", "jobs/runtime_env.yaml"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [*RAY, *words, "--", *entrypoint]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def submit(head: Head, *entrypoint: str) -> tuple[int, str]:
    """Runs a job to its end; exit code and output."""
    job = start(head, *entrypoint)
    output, _ = job.communicate()
    return job.returncode, output


def test_jobs_end_with_their_reason(head: Head, tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    code, told = submit(head, sys.executable, "-m", "cli_ray", "doctor", "--runs-dir", runs)
    assert code == 0, told
    assert "`ray job stop` waits 120 s for a checkpoint" in told
    assert "the State API answers and lists 1 node" in told
    assert f"{tmp_path / 'runs'} can be written, read and deleted" in told
    assert "\r" not in told

    code, _ = submit(head, sys.executable, "jobs/train.py", str(tmp_path / "absent.toml"))
    assert code == 1
    client = JobSubmissionClient(head.url)
    newest = max(client.list_jobs(), key=lambda job: job.start_time or 0)
    log = client.get_job_logs(newest.submission_id).rstrip().splitlines()
    assert log[-1] == f"error: {tmp_path / 'absent.toml'}: no such file"
    assert (newest.status, newest.driver_exit_code) == ("FAILED", 1)


@pytest.mark.slow
def test_a_job_whose_rank_is_killed_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    head: Head, trained_run: Path, training_data: Path, tmp_path: Path
) -> None:
    cluster = {"num_workers": 2, "gpus_per_worker": 0, "max_failures": 1}
    config = config_of(training_data, tmp_path, cluster=cluster, checkpoint={"every": 1, "keep_last": 2})
    file, run = tmp_path / "run.toml", tmp_path / "run"
    file.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)))
    job = start(head, sys.executable, "jobs/train.py", str(file))
    while not (run / "checkpoints/step-00000002/progress.json").exists():
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.01)
    os.kill(head.ranks()[0], signal.SIGKILL)
    output, _ = job.communicate()
    assert job.returncode == 0, output
    first, second = begins_of(run)
    assert first is None
    assert str(second) >= "checkpoints/step-00000002"
    assert untimed(run) == untimed(trained_run)
