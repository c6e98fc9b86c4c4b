"""The table of a benchmark's samples: one Parquet row each, with the stored reply and its score.

The scorer writes it through `output`; comparisons and reports read it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cli_ray.errors import UserError
from cli_ray.evals.benchmark import ScoredItem
from cli_ray.evals.records import ReplyRecord
from cli_ray.storage.files import resolve, write_aside

ROWS_PER_GROUP = 1_000
"""That are in memory at once: replies and prompts may be long."""
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "benchmark", "sample_id", "prompts", "prompt_hash", "image_hash")),
        *((name, pa.string()) for name in ("decoding", "model", "reply", "finish", "error")),
        *((name, pa.int64()) for name in ("attempts", "prompt_tokens", "reply_tokens")),
        ("seconds", pa.float64()),
        *((name, pa.string()) for name in ("parsed", "rule")),
        ("score", pa.float64()),
        ("state", pa.string()),
        ("truncated", pa.bool_()),
        ("stand_in", pa.float64()),
        *((name, pa.string()) for name in ("parts", "facets", "unit", "cluster")),
        *((name, pa.string()) for name in ("profile", "judge", "judge_prompt")),
        *((name, pa.string()) for name in ("question", "prompt", "gold")),
        ("images", pa.list_(pa.string())),
        ("thumbnail", pa.binary()),
    ]
)
"""The fields of a record, then those of its sample (`parts` and `facets` as JSON), who scored it, and its item."""


@dataclass(frozen=True, slots=True)
class AskedItem:
    """What people need beside a reply. Older tables lack these columns."""

    question: str = ""
    prompt: str = ""
    gold: str = ""
    images: tuple[str, ...] = ()
    """Where each picture lies, see `cli_ray.evals.items.images.places_of`."""
    thumbnail: bytes | None = None
    """WebP of the first picture, of some items."""


ASKED = tuple(field.name for field in fields(AskedItem))
"""Its columns."""
_OF_RECORD = set(ReplyRecord.model_fields)
_MAY_LACK = {*ASKED, "prompts"}
"""Columns that older tables lack."""
Add = Callable[[ReplyRecord, ScoredItem, AskedItem], None]
"""Writes a row."""


class Item(NamedTuple):
    """A row of the table."""

    record: ReplyRecord
    sample: ScoredItem
    profile: str
    judge: str
    judge_prompt: str


@contextmanager
def samples_table(path: str, profile: str, judge: str = "", judge_prompt: str = "") -> Iterator[Add]:
    """Writes the samples of a benchmark, row by row. The file takes its name when all went well.

    Args:
        path: of the file; local or a pyarrow URI.
        profile: that they are scored under.
        judge: who grades them, if one does.
        judge_prompt: hash of what it is asked.
    """
    filesystem, inner = resolve(path)
    scored_by = {"profile": profile, "judge": judge, "judge_prompt": judge_prompt}
    group: list[dict[str, Any]] = []
    with write_aside(filesystem, inner) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:

        def add(record: ReplyRecord, sample: ScoredItem, asked: AskedItem) -> None:
            group.append(_columns(record, sample, asked) | scored_by)
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, SCHEMA))
                group.clear()

        yield add
        writer.write_table(pa.Table.from_pylist(group, SCHEMA))


def read_samples(path: str) -> Iterator[Item]:
    """The rows of a table, group by group; equal to what was written, but for tuples in facets, which become lists."""
    for columns in read_columns(path):
        yield Item(
            ReplyRecord(**{name: value for name, value in columns.items() if name in _OF_RECORD and value is not None}),
            sample_of(columns),
            columns["profile"],
            columns["judge"],
            columns["judge_prompt"],
        )


def read_columns(path: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a table as plain columns, a batch at a time; None in those that an older one lacks.

    Args:
        columns: only these.

    Raises:
        UserError: the file cannot be read or lacks a column.
    """
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as file:
            parquet = pq.ParquetFile(file)
            there = set(parquet.schema_arrow.names)
            missing = [name for name in columns or SCHEMA.names if name not in there]
            if needed := sorted(set(missing) - _MAY_LACK):
                raise UserError(f"{path}: lacks the columns {', '.join(needed)}: it is no table of samples")
            wanted = [name for name in columns or SCHEMA.names if name in there]
            for batch in parquet.iter_batches(ROWS_PER_GROUP, columns=wanted):
                yield from (dict.fromkeys(missing) | row for row in batch.to_pylist())
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


def _columns(record: ReplyRecord, sample: ScoredItem, asked: AskedItem) -> dict[str, Any]:
    texts = {name: _storable(getattr(asked, name)) for name in ("question", "prompt", "gold")}
    return (
        record.model_dump(exclude={"injected"})
        | asdict(asked)
        | texts
        | {
            "parsed": _storable(sample.parsed),
            "rule": sample.rule,
            "score": sample.score,
            "state": sample.state,
            "truncated": sample.truncated,
            "stand_in": sample.stand_in,
            "parts": json.dumps(dict(sample.parts)),
            "facets": json.dumps(dict(sample.facets), default=str),
            "unit": sample.unit,
            "cluster": sample.cluster,
            "reply": _storable(record.reply),
        }
    )


def _storable(text: str) -> str:
    """The text without halves of code points, which a cut reply can end in and UTF-8 cannot hold."""
    return text.encode(errors="replace").decode()


def _from_json(text: str) -> dict[str, Any]:
    """The object; most are empty, and parsing would be most of the cost of reading."""
    values: dict[str, Any] = {} if text == "{}" else json.loads(text)
    return values
