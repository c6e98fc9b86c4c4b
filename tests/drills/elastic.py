"""A run of `num_workers = [1, 2]` on a cluster that grows and shrinks: `python -m tests.drills.elastic [STEPS]`.

A node joins while one worker trains, and is killed once two do. The losses are compared with those of a run of
one worker on the same lanes that nothing disturbed.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

import ray
from ray.cluster_utils import Cluster

from cli_ray.config import RunConfig
from cli_ray.data.synthetic import synthesize, write_parquet
from cli_ray.drill.site import ENVIRONMENT, STORE_BYTES
from cli_ray.train.trainer import train
from tests.drills.quiet import be_quiet

NODE_CPUS = 3
"""Room for one worker of two CPUs, and a CPU for its stream."""
PATIENCE_S = 400


def main(steps: int) -> None:
    """Runs the drill and prints what came out."""
    # AF_UNIX socket paths are at most 107 bytes long.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as sockets:
        write_parquet(synthesize(64, seed=0, split="train"), Path(folder, "data"), rows_per_file=32)
        head = {"num_cpus": NODE_CPUS, "include_dashboard": False, "temp_dir": sockets}
        cluster = Cluster(True, head_node_args=head | {"object_store_memory": STORE_BYTES})
        ray.init(address=cluster.address, logging_level="warning", log_to_driver=False)
        try:
            elastic = _disturbed(cluster, _config(folder, "elastic", steps, (1, 2)))
            train(_config(folder, "plain", steps, 1))
        finally:
            ray.shutdown()
            cluster.shutdown()
        losses, plain = (_losses(Path(folder, "runs", name)) for name in ("elastic", "plain"))
        events = [json.loads(line) for line in Path(elastic.folder, "events.jsonl").read_text().splitlines()]
        for event in events:
            if event["event"] in ("begin", "convert"):
                print({key: value for key, value in event.items() if key != "injection"})
        apart = [abs(one - other) for one, other in zip(losses, plain, strict=True)]
        print(f"steps {len(losses)} of {steps}; largest loss difference up to each fifth of them:")
        print(", ".join(f"{max(apart[: steps * part // 5]):.1e}" for part in range(1, 6)))


def _config(folder: str, name: str, steps: int, workers: int | tuple[int, int]) -> RunConfig:
    rate = {"lr": 1e-3}
    return RunConfig.model_validate(
        {
            "name": name,
            "runs_dir": f"{folder}/runs",
            "model": {"checkpoint": "tiny"},
            "injection": {
                "vision_layers": {"count": 3},
                "decoder_layers": {"count": 2},
                "amp": {"rank": 4},
                "agf": {"num_heads": 2, "hidden_size": 8},
            },
            "data": {"sources": [{"path": f"{folder}/data"}], "max_length": 256, "lanes": 2},
            "optim": dict.fromkeys(("vision_tower", "projector", "amp", "agf", "llm"), rate),
            "train": {
                "global_batch_size": 8, "micro_batch_size": 2, "epochs": 1000, "max_steps": steps, "precision": "fp32",
            },
            "checkpoint": {"every": 20},
            "cluster": {"num_workers": workers, "gpus_per_worker": 0, "cpus_per_worker": 2},
        }
    )  # fmt: skip


def _disturbed(cluster: Cluster, config: RunConfig) -> RunConfig:
    """Trains while a node comes, and goes once the run uses it."""
    run = Thread(target=train, args=(config,), daemon=True)
    run.start()
    _wait_for(run, config, workers=1)
    node = cluster.add_node(num_cpus=NODE_CPUS, object_store_memory=STORE_BYTES)
    _wait_for(run, config, workers=2)
    cluster.remove_node(node, allow_graceful=False)
    run.join()
    return config


def _wait_for(run: Thread, config: RunConfig, workers: int) -> None:
    """Returns once the newest checkpoint is of so many workers."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and run.is_alive():
        written = sorted(Path(config.folder).glob("checkpoints/*/progress.json"))
        if written and json.loads(written[-1].read_text())["world_size"] == workers:
            return
        time.sleep(0.5)
    raise SystemExit(f"no checkpoint of {workers} workers came within {PATIENCE_S} s, or the run ended before")


def _losses(run: Path) -> list[float]:
    """Of each step; a step that was trained twice counts as it was the last time."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    by_step = {line["step"]: line["loss"] for line in lines if "loss" in line}
    return [by_step[step] for step in sorted(by_step)]


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    be_quiet()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
