"""A whole drill, started as users start it, on a cluster of its own: a node dies, or is preempted."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli_ray.data.synthetic import synthesize, write_tar

PLANTED = "planted-and-never-written-down"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "CLI_RAY_JUDGE_API_KEY", "HF_TOKEN", "WANDB_API_KEY")
CONFIG = """
name = "tiny"
[model]
checkpoint = "tiny"
[injection]
vision_layers = [2, 4]
decoder_layers = [0, 2]
amp = { rank = 4 }
agf = { num_heads = 2, hidden_size = 8 }
[[data.sources]]
path = "SHARDS"
[data]
max_length = 256
unit_samples = 4
window_samples = 16
[optim]
llm = { lr = 1e-3 }
amp = { lr = 1e-3 }
[train]
global_batch_size = 4
micro_batch_size = 2
max_steps = 30
epochs = 5
precision = "fp32"
[checkpoint]
every = 10
[cluster]
num_workers = 2
gpus_per_worker = 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["node", pytest.param("preemption", marks=pytest.mark.long)])
def test_a_run_that_lost_a_node_ends_as_if_nothing_had_happened(tmp_path: Path, kind: str) -> None:
    write_tar(synthesize(24, seed=0, split="train"), tmp_path / "shards", shard_size=12)
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.replace("SHARDS", str(tmp_path / "shards")))
    words = [str(config), "--kill", kind, "--runs-dir", str(tmp_path / "runs"), "--seed", "1"]
    command = [sys.executable, "-m", "cli_ray", "drill", *words, "--optim.agf.lr", "1e-3"]
    # Read by Ray Train: the run is short, and the notice must be seen before it is over.
    environment = os.environ | {"RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.3"} | dict.fromkeys(SECRETS, PLANTED)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert "undisturbed: 30 steps in" in done.stdout
    assert re.search(rf"^\| {kind} +\|.*\| +0 \| +0 \| +0 \| +0 \|$", done.stdout, re.MULTILINE), told
    assert "1 of 1 disturbed runs came out as the undisturbed one" in done.stdout
    runs = {path.name: path for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    assert runs.keys() == {"undisturbed", f"01-{kind}"}
    # Drivers and workers have them in their environment; neither run folders nor outputs may.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 40
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []
    assert PLANTED not in told
