"""Tables: Parquet files, and the Arrow stream files of a Hugging Face dataset on disk.

Rows are decoded one by one and validated, since a file may lie about its offsets; columns that nothing reads are not
decoded at all.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cli_ray.data.fields import IMAGE_KEYS, SYSTEM_KEYS, TEXT_KEYS, matters, parse_json
from cli_ray.data.images import Limits
from cli_ray.data.readers.reader import Record, Span
from cli_ray.data.sample import BadDataError, Unread, clean
from cli_ray.storage.files import Shard, open_file, resolve

_COLUMNS = ("id", *TEXT_KEYS, *IMAGE_KEYS, *SYSTEM_KEYS)
_OWN = ("source",)
"""Of our own schema, and not needed."""
_MAX_COLUMN = 100
"""Characters of its name in messages."""
_UNREADABLE = (pa.ArrowException, OSError, ValueError, RecursionError)
"""What pyarrow raises on files that are none; the last two come from types that Python code reads."""


_END = b"\xff\xff\xff\xff\0\0\0\0"
"""Of an Arrow stream (format 1.0, IPC streaming)."""


class Parquet:
    """Rows of row groups; small groups (64 to 256 rows) are read with the least waste."""

    suffixes: tuple[str, ...] = (".parquet",)
    names_images: bool = True

    def spans(self, shard: Shard, unit_samples: int) -> Iterator[Span]:
        """Row ranges that stay within one row group."""
        try:
            with open_file(shard.path) as file, pq.ParquetFile(file) as table:
                groups = [table.metadata.row_group(i).num_rows for i in range(table.metadata.num_row_groups)]
        except _UNREADABLE as error:
            yield Span(0, 0, 1, f"no Parquet file that can be read: {error}")
            return
        yield from _cut(groups, shard, unit_samples)

    def records(self, path: str, span: Span, limits: Limits) -> Iterator[Record]:
        """The rows of a span."""
        with open_file(path) as file, pq.ParquetFile(file) as table:
            group, first = 0, 0
            while first + table.metadata.row_group(group).num_rows <= span.start:
                first += table.metadata.row_group(group).num_rows
                group += 1
            columns = [name for name in table.schema_arrow.names if _is_read(name)]
            # Row by row: a large value that the file stores once may stand in all rows.
            batches = table.iter_batches(batch_size=1, row_groups=[group], columns=columns)
            yield from _rows(batches, table.schema_arrow, first, span)


class HuggingFace:
    """Arrow streams written by `Dataset.save_to_disk`."""

    suffixes: tuple[str, ...] = (".arrow",)
    names_images: bool = True

    def spans(self, shard: Shard, unit_samples: int) -> Iterator[Span]:
        """Row ranges that stay within one record batch."""
        batches: list[int] = []
        problem = ""
        try:
            with _open_arrow(shard.path) as file, pa.ipc.open_stream(file) as stream:
                batches.extend(batch.num_rows for batch in stream)
                end = file.tell()
                if file.read_at(len(_END), max(0, end - len(_END))) != _END:  # pyarrow takes a cut there for the end
                    problem = "the Arrow stream has no end: the file was cut"
        except _UNREADABLE as error:
            problem = f"no Arrow stream that can be read{' further' if batches else ''}: {error}"
        yield from _cut(batches, shard, unit_samples)
        if problem:
            yield Span(sum(batches), sum(batches), 1, problem, damage="cut")

    def records(self, path: str, span: Span, limits: Limits) -> Iterator[Record]:
        """The rows of a span."""
        with _open_arrow(path) as file, pa.ipc.open_stream(file) as stream:
            yield from _rows(stream, stream.schema, 0, span)


def _open_arrow(path: str) -> pa.NativeFile:
    """Mapped into memory when local, so that batches before the wanted one are passed over without reading."""
    return open_file(path) if "://" in path else pa.memory_map(resolve(path)[1])


def _cut(groups: Sequence[int], shard: Shard, unit_samples: int) -> Iterator[Span]:
    """Spans of the groups of a shard; one that is broken when there cannot be so many rows."""
    if min(groups, default=0) < 0 or sum(groups) > shard.size:
        yield Span(0, 0, 1, f"the file says that groups of {_listed(groups)} rows are in its {shard.size:,} bytes")
        return
    first = 0
    for rows in groups:
        for start in range(first, first + rows, unit_samples):
            end = min(start + unit_samples, first + rows)
            yield Span(start, end, end - start)
        first += rows


def _rows(batches: Iterator[pa.RecordBatch], schema: pa.Schema, first: int, span: Span) -> Iterator[Record]:
    """The rows of a span, of batches that start at row `first` of a file with a schema.

    Where a batch cannot be decoded or is not there, its rows and those after it come as broken.
    """
    position = first
    unread = tuple(
        Unread("column", clean(name, _MAX_COLUMN)) for name in schema.names if name not in _OWN and not _is_read(name)
    )
    try:
        _check(schema)
        unpack = _unpacking(pa.struct([field for field in schema if _is_read(field.name)]))
        for batch in batches:
            low, high = max(span.start - position, 0), min(span.end - position, batch.num_rows)
            for i in range(low, high):
                yield _row(batch, i, position + i, unread, unpack)
            position += batch.num_rows
            if position >= span.end:
                return
        broken = BadDataError("broken shard", f"the file promises more rows, row {position} is not there")
    except BadDataError as error:
        broken = error
    except (pa.ArrowException, OSError) as error:
        broken = BadDataError("broken shard", f"rows cannot be decoded: {error}")
    yield from (Record(f"row {row}", "", broken, unread) for row in range(max(position, span.start), span.end))


def _check(schema: pa.Schema) -> None:
    """Refuses (BadDataError) columns that cannot be read, or not without running code that the file chose."""
    if not set(schema.names) & set(TEXT_KEYS):
        message = f"no column {', '.join(TEXT_KEYS[:-1])} or {TEXT_KEYS[-1]}; there are {', '.join(schema.names)}"
        raise BadDataError("wrong columns", message)
    for name in filter(_is_read, dict.fromkeys(schema.names)):
        fields = [field for field in schema if field.name == name]
        if len(fields) > 1:
            raise BadDataError("wrong columns", f"{len(fields)} columns are called {name}")
        if kinds := [kind for field in fields for kind in _extensions(field.type)]:
            raise BadDataError("wrong columns", f"{name} is of type {kinds[0]}; write plain text, bytes or lists")


def _extensions(kind: pa.DataType) -> list[str]:
    """Names of the types in a type that Python code reads, such as the pickled objects of Ray Data."""
    if isinstance(kind, pa.ExtensionType):
        return [kind.extension_name]
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    inner += [kind.value_type] if pa.types.is_dictionary(kind) else []
    inner += [kind.storage_type] if isinstance(kind, pa.BaseExtensionType) else []
    return [name for part in inner for name in _extensions(part)]


def _listed(groups: Sequence[int]) -> str:
    return ", ".join(f"{rows:,}" for rows in groups[:3]) + (", ..." if len(groups) > 3 else "")


def _is_read(name: str) -> bool:
    """Whether a column is looked into: those that samples are made of, and those that may be a reason to refuse one."""
    return name in _COLUMNS or matters(name)


def _unpacking(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """What makes values of the JSON texts in a type, as which `datasets` stores values of several types.

    None where there are none, so that large values are not copied.
    """
    if isinstance(kind, pa.JsonType):
        return lambda value: None if value is None else parse_json(value, "a column of JSON")
    if pa.types.is_struct(kind):
        inner = {field.name: unpack for field in kind if (unpack := _unpacking(field.type))}
        return (lambda value: _changed(value, inner)) if inner else None
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and (unpack := _unpacking(kind.value_type)):
        return lambda value: None if value is None else [unpack(entry) for entry in value]
    return None


def _changed(value: dict[str, Any] | None, changes: dict[str, Callable[[Any], Any]]) -> dict[str, Any] | None:
    return value and {**value, **{name: change(value[name]) for name, change in changes.items()}}


def _row(
    batch: pa.RecordBatch,
    i: int,
    position: int,
    unread: tuple[Unread, ...],
    unpack: Callable[[Any], Any] | None,
) -> Record:
    """One row as a mapping; offsets and text are validated first, since the file may lie about them."""
    wanted = [name for name in batch.schema.names if _is_read(name)]
    content: dict[str, Any] | BadDataError
    try:
        row = batch.slice(i, 1).select(wanted)
        row.validate(full=True)
        content = row.to_pylist()[0]
        content = unpack(content) if unpack else content
    except (pa.ArrowException, ValueError, OverflowError) as error:
        content = BadDataError("broken record", str(error))
    except BadDataError as error:
        content = error
    key = content.get("id") if isinstance(content, dict) else None
    return Record(f"row {position}", str(key) if isinstance(key, str | int) else "", content, unread)
