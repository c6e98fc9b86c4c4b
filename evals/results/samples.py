"""The table of a benchmark's samples: one Parquet row each, with the stored reply and its score.

`output` writes it when a benchmark is scored; comparisons read it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import ScoredItem
from cli_ray.evals.records import ReplyRecord
from cli_ray.evals.results.aggregate import Row
from cli_ray.storage.files import resolve, write_aside

ROWS_PER_GROUP = 10_000
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "benchmark", "sample_id", "prompt_hash", "image_hash", "decoding")),
        *((name, pa.string()) for name in ("model", "reply", "finish", "error")),
        *((name, pa.int64()) for name in ("attempts", "prompt_tokens", "reply_tokens")),
        ("seconds", pa.float64()),
        *((name, pa.string()) for name in ("parsed", "rule")),
        ("score", pa.float64()),
        ("state", pa.string()),
        ("truncated", pa.bool_()),
        ("stand_in", pa.float64()),
        *((name, pa.string()) for name in ("parts", "facets", "unit", "cluster")),
        *((name, pa.string()) for name in ("profile", "judge", "judge_prompt")),
    ]
)
"""The fields of a record, then those of its sample (`parts` and `facets` as JSON), then who scored it."""


class Item(NamedTuple):
    """A row of the table."""

    record: ReplyRecord
    sample: ScoredItem
    profile: str
    judge: str
    judge_prompt: str


def samples_table(path: str, records: Iterable[ReplyRecord], samples: Sequence[ScoredItem], row: Row) -> None:
    """Writes the samples of a benchmark in the order of the records, which may be a stream.

    The file takes its name only once it is whole.

    Args:
        path: of the file; local or a pyarrow URI.
        row: what the samples came to; says profile and judge.

    Raises:
        UserError: records and samples are not of the same items.
    """
    filesystem, inner = resolve(path)
    by_id = {sample.id: sample for sample in samples}
    with write_aside(filesystem, inner) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        group: list[dict[str, Any]] = []
        for record in records:
            sample = by_id.pop(record.sample_id, None)
            if sample is None:
                raise UserError(f"{row.benchmark}: the record of sample {record.sample_id!r} has no score or is double")
            group.append(_columns(record, sample, row))
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, SCHEMA))
                group.clear()
        if by_id:
            raise UserError(f"{row.benchmark}: {len(by_id)} samples have no record, such as {next(iter(by_id))!r}")
        writer.write_table(pa.Table.from_pylist(group, SCHEMA))


def read_samples(path: str) -> Iterator[Item]:
    """The rows of a table, group by group; equal to what was written, but for tuples in facets, which become lists."""
    for columns in read_columns(path):
        yield Item(
            ReplyRecord(**{name: columns[name] for name in ReplyRecord.model_fields}),
            sample_of(columns),
            columns["profile"],
            columns["judge"],
            columns["judge_prompt"],
        )


def read_columns(path: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a table as plain columns, group by group.

    Args:
        columns: only these.

    Raises:
        UserError: the file cannot be read or lacks a column.
    """
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as file:
            parquet = pq.ParquetFile(file)
            missing = sorted(set(columns or SCHEMA.names) - set(parquet.schema_arrow.names))
            if missing:
                raise UserError(f"{path}: lacks the columns {', '.join(missing)}: it is no table of samples")
            for batch in parquet.iter_batches(ROWS_PER_GROUP, columns=columns):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read: {error}; `cli-ray eval` with this --output writes it") from error


def sample_of(columns: dict[str, Any]) -> ScoredItem:
    """The sample of a row."""
    return ScoredItem(
        id=columns["sample_id"],
        score=columns["score"],
        parsed=columns["parsed"],
        rule=columns["rule"],
        state=columns["state"],
        truncated=columns["truncated"],
        stand_in=columns["stand_in"],
        parts=_from_json(columns["parts"]),
        facets=_from_json(columns["facets"]),
        unit=columns["unit"],
        cluster=columns["cluster"],
    )


def _columns(record: ReplyRecord, sample: ScoredItem, row: Row) -> dict[str, Any]:
    return record.model_dump() | {
        "parsed": _storable(sample.parsed),
        "rule": sample.rule,
        "score": sample.score,
        "state": sample.state,
        "truncated": sample.truncated,
        "stand_in": sample.stand_in,
        "parts": json.dumps(dict(sample.parts)),
        "facets": json.dumps(dict(sample.facets)),
        "unit": sample.unit,
        "cluster": sample.cluster,
        "profile": row.profile,
        "judge": row.judge,
        "judge_prompt": row.judge_prompt,
        "reply": _storable(record.reply),
    }


def _storable(text: str) -> str:
    """The text without halves of code points, which a cut reply can end in and UTF-8 cannot hold."""
    return text.encode(errors="replace").decode()


def _from_json(text: str) -> dict[str, Any]:
    """The object; most are empty, and parsing would be most of the cost of reading."""
    values: dict[str, Any] = {} if text == "{}" else json.loads(text)
    return values
