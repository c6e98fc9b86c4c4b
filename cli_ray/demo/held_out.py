"""The held-out questions of the demo as items of the benchmark `synthetic`, and the replies to them.

`comparison` writes the items before a model is trained, and reads the replies once both are evaluated.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cli_ray.data.synthetic import SyntheticSample, Turn
from cli_ray.evals.results.samples import read_columns

BENCHMARK = "synthetic"


class HeldOutReply(NamedTuple):
    """What a model answers to a question."""

    text: str
    is_right: bool


def questions(samples: Sequence[SyntheticSample]) -> list[tuple[SyntheticSample, Turn]]:
    """Every question of every sample."""
    return [(sample, turn) for sample in samples for turn in sample.turns]


def write_items(samples: Sequence[SyntheticSample], data_root: Path) -> None:
    """Writes an item for each question, in their order, below a data root of evaluations."""
    rows = [
        {
            "image": {"bytes": sample.image},
            "question": turn.question,
            "answer": turn.answer,
            "kind": sample.kind,
            "scope": turn.scope,
        }
        for sample, turn in questions(samples)
    ]
    folder = data_root / BENCHMARK
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")


def replies(results: Path) -> list[HeldOutReply]:
    """The replies in the output of an evaluation, in the order of the questions."""
    rows = read_columns(str(results / "samples" / f"{BENCHMARK}.parquet"), ["sample_id", "reply", "score"])
    ordered = sorted(rows, key=lambda row: int(row["sample_id"]))
    return [HeldOutReply(row["reply"].strip(), row["score"] == 1) for row in ordered]
