"""Miniature folders of runs, sweeps and results, as training, tuning and evaluation write them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cli_ray.config import RunConfig, SweepConfig
from cli_ray.train.run_folder import RANKS, RunFolder

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RUN = {
    "name": "run",
    "model": {"checkpoint": "tiny"},
    "data": {"sources": [{"path": "/data/x.parquet"}], "max_length": 64},
    "train": {"packing": True, "pack_tokens": 256},
    "cluster": {"num_workers": 2, "gpus_per_worker": 0},
}
SWEEP = SweepConfig.model_validate(
    {
        "name": "search",
        "base": "base.toml",
        "space": {"optim.llm.lr": {"log_uniform": [1e-5, 1e-2]}, "injection.amp.rank": [4, 8]},
        "objectives": ["validation_loss", "eval/pope"],
    }
)


def run_config(**changes: Any) -> RunConfig:
    """That of the miniature run; `changes` replace sections."""
    return RunConfig.model_validate(RUN | changes)


def moment(seconds: float) -> str:
    """A time of a journal, so long after the beginning."""
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def step(number: int, seconds: float, **changes: Any) -> dict[str, Any]:
    """The line of a step of two ranks that takes a second: 600 ms of computing, 100 ms of exchange on both."""
    values = {
        "data_wait_ms": (1.0, 1.0), "rank_wait_ms": (100.0, 100.0), "compute_ms": (600.0, 600.0),
        "forward_ms": (200.0, 200.0), "backward_ms": (350.0, 350.0), "optimizer_ms": (50.0, 50.0),
    }  # fmt: skip
    values |= {name: changes.pop(name) for name in list(changes) if name in values}
    spreads = {
        f"{name}/{what}": value
        for name, (low, high) in values.items()
        for what, value in (("min", low), ("median", low), ("max", high), ("rank", int(high > low)))
    }
    whole = {"step_ms": 700.0, "data_wait_ms": values["data_wait_ms"][1], "peak_GiB": 1.5, "padding_share": 0.0}
    progress = {"step": number, "samples": 8 * number, "tokens": 800 * number, "bad_samples": 0, "epoch": 0}
    speed = {"loss": 2.0 / number, "tokens/s": 800.0, "samples/s": 8.0, "TFLOP/s": 0.1}
    return {"time": moment(seconds), **progress, **speed, **whole, **spreads, **changes}


def write_run(
    folder: Path,
    rows: Sequence[Mapping[str, Any]] = (),
    events: Sequence[Mapping[str, Any]] = (),
    ranks: Sequence[Mapping[str, Any]] = (),
    config: RunConfig | None = None,
) -> RunFolder:
    """A run folder with these lines."""
    run = RunFolder(str(folder))
    run.write("config.json", json.dumps((config or run_config()).model_dump(mode="json", exclude={"runs_dir"})))
    for name, lines in (("metrics.jsonl", rows), ("events.jsonl", events), (RANKS, ranks)):
        if lines:
            run.append(name, [json.dumps(line) for line in lines])
    return run


def event(kind: str, seconds: float, **fields: Any) -> dict[str, Any]:
    """A line of events.jsonl."""
    return {"time": moment(seconds), "event": kind, **fields}


def write_sweep(folder: Path, results: Mapping[str, Any] | None = None) -> None:
    """The folder of a sweep without trials; `results` are written as at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    base = run_config().model_dump(mode="json", exclude={"runs_dir"})
    stored = SWEEP.model_dump(mode="json", exclude={"sweeps_dir", "max_concurrent", "base"})
    (folder / "sweep.json").write_text(json.dumps({"sweep": stored, "base": base}))
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))


def trial(name: str, state: str, loss: float | None, rank: int, rate: float, reason: str = "") -> dict[str, Any]:
    """A trial of results.json."""
    values = {} if loss is None else {"validation_loss": loss, "eval/pope": 50.0 - loss}
    draw = {"optim.llm.lr": rate, "injection.amp.rank": rank}
    return {"trial": name, "state": state, "step": 40, "values": values, "draw": draw, "reason": reason}


def write_results(folder: Path, records: Mapping[str, int], asked: Mapping[str, int], rows: Mapping[str, Any]) -> None:
    """The output of an evaluation: records that are there, items that were asked, and rows, by benchmark."""
    for name, count in records.items():
        path = folder / "records" / name / "session.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"key": "k"}\n' * count)
    contents: dict[str, Any] = {
        f"asked/{name}.json": {"keys": {str(i): "k" for i in range(count)}} for name, count in asked.items()
    }
    contents |= {f"rows/{name}.json": row for name, row in rows.items()}
    contents["config.json"] = {"model": "models/mine", "suite": "paper18", "benchmarks": list(asked)}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))


def row(name: str, value: float | None, **changes: Any) -> dict[str, Any]:
    """A row of the table, as far as views read it."""
    known = {"benchmark": name, "title": name.upper(), "n": 10, "n_found": 10, "complete": True}
    return known | {"value": value, "standard_error": 1.25} | changes
