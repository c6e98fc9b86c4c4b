"""Small benchmarks and output folders of made-up evaluations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli_ray.evals.benchmark import Benchmark, Graded, Judge, Metrics, Profile, ScoredItem, Source
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.aggregate import Row, row
from cli_ray.evals.results.samples import AskedItem, samples_table
from cli_ray.evals.results.table import results
from cli_ray.evals.scoring.means import accuracy, grouped

UNKNOWN = AskedItem()


def made(name: str = "toy", **changes: Any) -> Benchmark:
    """A benchmark whose headline is the mean score."""
    fields: dict[str, Any] = {
        "name": name,
        "title": name.upper(),
        "source": Source(ids=("nobody/toy",), split="test"),
        "count": 4,
        "columns": ("question",),
        "prompt": lambda doc: doc["question"],
        "max_new_tokens": 4,
        "score": lambda doc, reply: Graded(float(reply == "yes"), reply, "text"),
        "aggregate": accuracy,
        "headline": "accuracy",
        "linear": True,
    }
    return Benchmark(**fields | changes)


def all_right(samples: Sequence[ScoredItem]) -> Metrics:
    """Percent of units of which every sample is right; fails where units lose or gain samples."""
    units = grouped(samples, lambda sample: sample.unit)
    assert len({len(unit) for unit in units.values()}) == 1
    return {"all right": 100 * sum(all(one.score == 1 for one in unit) for unit in units.values()) / len(units)}


def by_units(name: str = "pairs", **changes: Any) -> Benchmark:
    """A benchmark whose headline counts units."""
    return made(name, aggregate=all_right, headline="all right", linear=False, **changes)


def judged(name: str = "judged", **changes: Any) -> Benchmark:
    """A benchmark that needs a judge."""
    judge = Judge(prompt=lambda doc, reply: (), read=lambda doc, reply, answer: None, max_tokens=1)
    return made(name, judge=judge, stand_in="exact match", **changes)


def sample(number: int, score: float | None, **changes: Any) -> ScoredItem:
    """A scored sample, alone in its unit and cluster."""
    sample_id = f"{number:04}"
    fields = {"parsed": "x", "rule": "text", "state": "ok", "unit": sample_id, "cluster": f"image {number}"}
    return ScoredItem(**{"id": sample_id, "score": score} | fields | changes)


def samples(scores: Sequence[float | None], per_cluster: int = 1, per_unit: int = 1) -> list[ScoredItem]:
    """Samples in order, so many in each cluster and unit."""
    return [
        sample(i, score, cluster=f"image {i // per_cluster}", unit=f"unit {i // per_unit}")
        for i, score in enumerate(scores)
    ]


def record(benchmark: str, one: ScoredItem, model: str, **changes: Any) -> ReplyRecord:
    """The record of a sample; its reply tells the score."""
    fields = {"prompt_hash": "p", "image_hash": one.cluster, "decoding": "greedy", "finish": "stop"}
    reply = f"{model} says {one.score}"
    key = f"{benchmark} {one.id} {model}"
    return ReplyRecord(
        **{"key": key, "benchmark": benchmark, "sample_id": one.id, "model": model, "reply": reply} | fields | changes
    )


def write_output(
    folder: Path,
    model: str,
    evaluated: Mapping[str, tuple[Benchmark, Sequence[ScoredItem]]],
    *,
    profile: Profile = "lmms-eval/0.7.3",
    judge: str = "",
    expected: int | None = None,
    official: int | None = None,
    asked: AskedItem = UNKNOWN,
    **changes: Any,
) -> list[Row]:
    """An output folder as an evaluation leaves it, by benchmark; `changes` go into every record, `asked` into all
    rows."""
    rows = []
    for name, (benchmark, found) in evaluated.items():
        items = len(found) if expected is None else expected
        one = row(replace(benchmark, count=official or items), found, items, profile, judge, "ab" * 8)
        rows.append(one)
        with samples_table(str(folder / "samples" / f"{name}.parquet"), profile, one.judge, one.judge_prompt) as add:
            for sample in found:
                add(record(name, sample, model, **changes), sample, asked)
    (folder / "results.json").write_text(json.dumps(results(rows, model, f"hash of {model}")))
    return rows
