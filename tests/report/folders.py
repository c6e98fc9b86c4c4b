"""Run folders for reports, written without a training, and texts that would harm a careless page."""

import json
import math
from pathlib import Path
from typing import Any

from cli_ray.config import RunConfig
from cli_ray.report.figures import heatmap
from cli_ray.report.page import Report
from cli_ray.report.section import Card, Code, Section, Table
from cli_ray.train.run_folder import RunFolder

HOSTILE = "</style></script><script>alert(1)</script>]]>&\"'\u202e\x00\x1b[31m\ud800 $x$ " + "a" * 100_000


def run_config(name: str, **changes: Any) -> RunConfig:
    """A config; `changes` are of its sections."""
    fields: dict[str, Any] = {
        "name": name,
        "model": {"family": "llava", "checkpoint": "tiny"},
        "data": {"sources": [{"path": "/data/x.parquet", "name": "first"}, {"path": "/data/y", "name": "second"}]},
    }
    return RunConfig.model_validate(fields | changes)


def hostile_report() -> Report:
    """A report of every kind of part, made of `HOSTILE`."""
    figure = heatmap(
        HOSTILE[:40], HOSTILE, [[1.0]], rows=[HOSTILE[:60]], columns=["x"], row_title="a", column_title="b"
    )
    card = Card(HOSTILE, b"RIFF0000WEBP", [(HOSTILE, HOSTILE)], "bad")
    table = Table([HOSTILE], [[HOSTILE]], HOSTILE)
    section = Section("s", HOSTILE, [HOSTILE, table, figure, Code(HOSTILE, HOSTILE), [card]])
    return Report(HOSTILE, HOSTILE, "bad", [section], HOSTILE)


def write_run(folder: Path, steps: int, *, end: dict[str, Any] | None = None, **changes: Any) -> str:
    """A run that logged so many steps; its path.

    Args:
        end: of its last event; none without.
        changes: of the config.
    """
    run = RunFolder(str(folder))
    run.write(
        "config.json", json.dumps(run_config(folder.name, **changes).model_dump(mode="json", exclude={"runs_dir"}))
    )
    run.event("start")
    run.event("begin", checkpoint=None, workers=2, steps=steps)
    with (folder / "metrics.jsonl").open("w") as file:
        file.writelines(f"{json.dumps(_row(step, steps))}\n" for step in range(1, steps + 1))
    if end is not None:
        run.event("end", **end)
    return str(folder)


def _row(step: int, steps: int) -> dict[str, Any]:
    share = step / steps
    row: dict[str, Any] = {"time": "2026-01-01T00:00:00.000+00:00", "step": step, "epoch": 0}
    row |= {
        "loss": 2 - share,
        "loss/first": 2.5 - share,
        "loss/second": 1.5 - share,
        "grad_norm": 1 + math.sin(step) / 2,
    }
    row |= {"lr/llm": 1e-3 * (1 - share), "tokens/s": 1e4, "step_ms": 100.0, "peak_GiB": 3.5, "padding_share": 0.1}
    row |= {f"{name}/median": value for name, value in {"compute_ms": 90.0, "rank_wait_ms": 10.0}.items()}
    row |= {"data_wait_ms/max": 1.0, "gate_mean": [[share, 0.0]], "gate_max": [[share, 0.1]]}
    if step % 10 == 0:
        row["validation_loss"] = 2.1 - share
    return row
