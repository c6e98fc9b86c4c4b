"""The Slurm script passes on the exit code, asks for a checkpoint when time is up, and leaves nothing behind."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.manifests import CLUSTER

SCRIPT = CLUSTER / "slurm" / "ray.sbatch"
# Stands for srun and `ray symmetric-run`: notes its arguments and runs what follows the last of their `--`.
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" >"$NOTES/srun"
printf '%s %s' "$RAY_AUTH_MODE" "$RAY_AUTH_TOKEN" >"$NOTES/auth"
while [[ $1 != -- ]]; do shift; done
shift
"$@"
"""
SCONTROL = """#!/usr/bin/env bash
if [[ $1 == requeue ]]; then echo "$2" >"$NOTES/requeued"; else printf 'node1\\nnode2\\n'; fi
"""
# Stands for a job script: says that it runs, and ends with 143 on SIGTERM, as the commands do after their checkpoint.
DRIVER = """
import os, pathlib, signal, sys
notes = pathlib.Path(os.environ["NOTES"])
def stop(*_):
    (notes / "checkpoint").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("running", flush=True)
signal.pause()
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "tmp").mkdir()
    return tmp_path


class Job:
    """The script with stand-ins for Slurm and Ray."""

    def __init__(self, notes: Path, *arguments: str) -> None:
        environment = os.environ | {
            "PATH": f"{notes / 'bin'}:{os.environ['PATH']}",
            "NOTES": str(notes),
            "TMPDIR": str(notes / "tmp"),
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
        }
        self.process = subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until_it_runs(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "running\n"

    def code(self) -> int:
        return self.process.wait(timeout=60)

    def leftovers(self) -> list[str]:
        """Processes of the job that still live."""
        listed = subprocess.run(["pgrep", "--session", str(self.process.pid)], capture_output=True, text=True)
        return listed.stdout.split()

    def kill(self) -> None:
        if self.leftovers():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def running(notes: Path) -> Iterator[Job]:
    job = Job(notes, str(notes / "driver.py"))
    job.wait_until_it_runs()
    yield job
    job.kill()


def test_it_is_a_shell_script() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_that_of_the_driver(notes: Path, code: int) -> None:
    job = Job(notes, "-c", f"raise SystemExit({code})")
    assert job.code() == code
    job.kill()
    assert not (notes / "requeued").exists()
    assert list((notes / "tmp").iterdir()) == []


def test_arguments_arrive_as_they_were_typed(notes: Path) -> None:
    job = Job(notes, "-c", "import sys; sys.exit(sys.argv[1:] != ['a b', '*', '--x=1'])", "a b", "*", "--x=1")
    assert job.code() == 0
    job.kill()


def test_when_time_is_up_a_checkpoint_is_written_and_the_job_queued_again(notes: Path, running: Job) -> None:
    os.kill(running.process.pid, signal.SIGUSR1)
    assert running.code() == 143
    assert (notes / "checkpoint").exists()
    assert (notes / "requeued").read_text() == "77\n"
    assert running.leftovers() == []
    assert list((notes / "tmp").iterdir()) == []


def test_a_stopped_job_writes_a_checkpoint_and_is_not_queued_again(notes: Path, running: Job) -> None:
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.code() == 143
    assert (notes / "checkpoint").exists()
    assert not (notes / "requeued").exists()
    assert running.leftovers() == []


def test_ray_gets_all_nodes_and_a_token_of_this_job(notes: Path) -> None:
    tokens = []
    for _ in range(2):
        job = Job(notes, "-c", "")
        assert job.code() == 0
        job.kill()
        mode, token = (notes / "auth").read_text().split()
        assert mode == "token"
        tokens.append(token)
        arguments = (notes / "srun").read_text().split("\n")
        assert arguments[arguments.index("--address") + 1] == "node1:6379"
        assert arguments[arguments.index("--min-nodes") + 1] == "2"
        assert token not in arguments
    assert len(set(tokens)) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in tokens)


def test_nodes_are_not_shared_because_ray_stop_ends_every_ray_on_them() -> None:
    options = re.findall(r"^#SBATCH --(\S+)", SCRIPT.read_text(), re.MULTILINE)
    assert {"exclusive", "requeue", "ntasks-per-node=1"} <= set(options)
    (signal_option,) = [option for option in options if option.startswith("signal=")]
    assert re.fullmatch(r"signal=B:USR1@\d+", signal_option)
