"""Jobs on a cluster that grows from none: each command waits for nodes, works, and leaves none behind.

    python -m tests.drills.growing [JOB ...]

A head without CPUs and Ray's own autoscaler, which may start three nodes of two CPUs, processes of this machine. A
training, an evaluation, a sweep of which one trial has to wait, a pipeline and `cli-ray doctor` are submitted as jobs,
each when the last node is gone; then a training that asks for GPUs, which no node type has. The exit code is 1 when one
of them ends otherwise, finds no word for what it waits for, or leaves a node. The jobs have no working directory,
because these nodes have one folder for it, and the first that goes empties it.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ray
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cli_ray.data.synthetic import synthesize, write_tar
from cli_ray.text import grid
from tests.drill.test_drill import CONFIG
from tests.drills.quiet import be_quiet
from tests.growing import growing_cluster
from tests.ports import free_ports

HEAD = ("job", "whole", "nodes at most", "gone after", "exit code", "verdict")
IDLE_S = 10.0
PATIENCE_S = 400.0
ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SWEEP = """
name = "rates"
base = "run.toml"
space = { "optim.llm.lr" = [1e-3, 1e-4] }
search = "grid"
scheduler = "none"
max_concurrent = 2
"""
WAITS = "waiting for room since 0 s: asked for"
REFUSES = "asks for 2 GPUs, the cluster has 0"
JOBS = ("doctor", "train", "eval", "tune", "pipeline", "no such nodes")
NO_AGENT = "No available agent to submit job"
"""What `ray job submit` ends with where the head's agent is not up within Ray's 10 s."""


class NoAgentError(RuntimeError):
    """The head takes no jobs yet."""


def main(names: list[str]) -> int:
    """Runs the jobs and prints a table."""
    if unknown := sorted(set(names) - set(JOBS)):
        print(f"there is no job {', '.join(map(repr, unknown))}: name some of {', '.join(map(repr, JOBS))}, or none")
        return 2
    be_quiet()
    folder = Path(tempfile.mkdtemp(prefix="growing"))
    write_tar(synthesize(24, seed=0, split="train"), folder / "shards", shard_size=12)
    write_tar(synthesize(4, seed=0, split="held_out"), folder / "held-out", shard_size=4)
    config, sweep = folder / "run.toml", folder / "sweep.toml"
    held_out = f'\n[[validation.sources]]\npath = "{folder / "held-out"}"\n'
    config.write_text(
        CONFIG.replace("SHARDS", str(folder / "shards")).replace("max_steps = 30", "max_steps = 6") + held_out
    )
    sweep.write_text(SWEEP)
    runs, rates = ["--runs-dir", str(folder / "runs")], ["--optim.agf.lr", "1e-3"]
    replica = ["--replica.gpus", "0", "--replica.dtype", "fp32"]
    few = ["--benchmarks", "pope", "--miniature", "--limit", "2"]
    train = [f"{ROOT}/jobs/train.py", str(config), *runs, *rates]
    jobs: list[tuple[str, list[str], int, str]] = [
        ("doctor", ["-m", "cli_ray", "doctor", str(config), *runs], 0, WAITS),
        ("train", train, 0, WAITS),
        (
            "eval",
            [
                f"{ROOT}/jobs/evaluate.py",
                "--model",
                str(folder / "runs/tiny"),
                *few,
                *replica,
                "--output",
                str(folder / "e"),
            ],
            0,
            WAITS,
        ),
        ("tune", [f"{ROOT}/jobs/tune.py", str(sweep), "--sweeps-dir", str(folder / "sweeps")], 0, WAITS),
        (
            "pipeline",
            [f"{ROOT}/jobs/pipeline.py", *train[1:], "--name", "second", *few, *replica, "--output", str(folder / "p")],
            0,
            WAITS,
        ),
        ("no such nodes", [*train, "--name", "third", "--cluster.gpus-per-worker", "1"], 1, REFUSES),
    ]
    assert tuple(job[0] for job in jobs) == JOBS
    (dashboard,) = free_ports(1)
    rows = []
    with growing_cluster(
        {"small": {"resources": {"CPU": 2}, "max_workers": 3}}, idle_s=IDLE_S, dashboard=dashboard
    ) as address:
        ray.init(address=address, logging_level="error", log_to_driver=False)
        for name, words, code, said in (job for job in jobs if not names or job[0] in names):
            rows.append(_submitted(name, words, code, said, f"http://127.0.0.1:{dashboard}", folder))
            print(" | ".join(rows[-1]), flush=True)
    print(grid(HEAD, rows, left=1))
    print(f"outputs are in {folder}")
    return int(any(row[-1] != "as expected" for row in rows))


def _submitted(name: str, words: list[str], code: int, said: str, url: str, folder: Path) -> list[str]:
    """The line of a job that has ended and whose nodes are gone."""
    output = folder / f"{name.replace(' ', '-')}.log"
    command = [*RAY, "job", "submit", "--address", url, "--runtime-env", "jobs/runtime_env.yaml"]
    began = time.monotonic()
    ended, most = _patiently()(_run, [*command, "--", sys.executable, *words], output)
    whole_s = time.monotonic() - began
    left = not _until(lambda: _nodes() == 0)
    text = output.read_text()
    sound = ended == code and said in text and "Traceback" not in text and not left
    gone_s = time.monotonic() - began - whole_s
    return [
        name,
        f"{whole_s:.0f} s",
        str(most),
        f"{gone_s:.0f} s",
        str(ended),
        "as expected" if sound else f"see {output}",
    ]


def _patiently() -> Retrying:
    again = retry_if_exception_type(NoAgentError)
    return Retrying(retry=again, stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(1), reraise=True)


def _run(command: list[str], output: Path) -> tuple[int | None, int]:
    """Exit code of a submitted job, and the most nodes that it had.

    Raises:
        NoAgentError: it was not taken.
    """
    most = 0
    with output.open("w") as file:
        job = subprocess.Popen(command, stdout=file, stderr=file)

        def ended() -> bool:
            nonlocal most
            most = max(most, _nodes())
            return job.poll() is not None

        _until(ended)
    if NO_AGENT in output.read_text():
        raise NoAgentError(f"the head takes no jobs, see {output}")
    return job.returncode, most


def _nodes() -> int:
    return sum(bool(node["Alive"]) for node in ray.nodes()) - 1


def _until(happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not (done := happened()) and time.monotonic() < until:
        time.sleep(0.5)
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
