"""Evaluations of a run's checkpoints, as training sees them: which are due, where they lie, and their results.

`evaluator` (in the driver) evaluates; the checkpointer keeps checkpoints that wait for it; `ResultJoiner`, on rank 0,
copies results to metrics.jsonl while training goes on, and the evaluator after it.
"""

import json
from typing import Any

from cli_ray.config import RunConfig
from cli_ray.data.share import Share
from cli_ray.storage.lines import now, read_journal
from cli_ray.text import say
from cli_ray.train.loop import Callback, TrainLoop
from cli_ray.train.metrics import Metrics
from cli_ray.train.run_folder import METRICS, RunFolder

COMPLETE = "complete"
"""A file that is written when every benchmark is done."""


def is_due(step: int, config: RunConfig) -> bool:
    """Whether the checkpoint of a step is an n-th one; the last of a run is evaluated besides."""
    every = config.evaluation.every
    return bool(every) and step % (every * config.checkpoint.every) == 0


def awaited(step: int, config: RunConfig, folder: RunFolder) -> bool:
    """Whether a checkpoint must be kept because it has yet to be exported for its evaluation."""
    return is_due(step, config) and not any(folder.exists(f"{name_of(step)}/{part}") for part in ("model", COMPLETE))


def name_of(step: int) -> str:
    """Folder of an evaluation below the run folder."""
    return f"evals/step-{step:08d}"


def join_results(folder: RunFolder) -> list[Metrics]:
    """Adds a line to metrics.jsonl for each evaluated checkpoint that has none there yet.

    While training goes on only rank 0 may call this, and after it the driver: a file has one writer.

    Returns:
        What was added: `{"step": n, "evaluated": true, "eval/BENCHMARK": headline, "eval/BENCHMARK_se": standard error,
        ...}` each.
    """
    joined = {line["step"] for line in read_journal(folder, METRICS) if "evaluated" in line}
    new = [line for line in _results(folder) if line["step"] not in joined]
    folder.append(METRICS, [json.dumps({"time": now(), **line}) for line in new])
    return new


def scores_of(step: int, folder: RunFolder) -> dict[str, float | None]:
    """The headline of each benchmark that a checkpoint was evaluated on."""
    return {row["benchmark"]: row["value"] for row in _rows(folder, name_of(step))}


class ResultJoiner(Callback):
    """Looks for new results whenever a checkpoint is written; those that come later are joined by the driver."""

    def on_step(self, loop: TrainLoop, share: Share, metrics: Metrics | None) -> None:
        loop.results = []
        if loop.progress.step % loop.config.checkpoint.every == 0:
            try:
                loop.results = join_results(loop.folder)
            except OSError as error:
                say(f"results of evaluations cannot be joined to metrics.jsonl yet: {error}")


def _results(folder: RunFolder) -> list[Metrics]:
    """A line for each evaluated checkpoint, see `join_results`."""
    lines: list[Metrics] = []
    for name in folder.names("evals"):
        if folder.exists(f"evals/{name}/{COMPLETE}"):
            line: Metrics = {"step": int(name.removeprefix("step-")), "evaluated": True}
            for row in _rows(folder, f"evals/{name}"):
                score = f"eval/{row['benchmark']}"
                line |= {score: row["value"], f"{score}_se": row["standard_error"]}
            lines.append(line)
    return lines


def _rows(folder: RunFolder, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(folder.read(f"{name}/results.json") or "{}")["rows"]
    return rows
