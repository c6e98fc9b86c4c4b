"""Parquet files and Arrow streams of other schemas and values, cut, changed, encrypted or lying; from a seed."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from tests.data.hostile.images import hostile_image
from tests.data.hostile.shard import GOOD_PICTURE, PER_SHARD, HostileShard, between
from tests.data.shards import turns

_TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
_STATE = (
    "", "{", "[]", "null", '{"_data_files": null}', '{"_data_files": [{}]}', '{"_data_files": [7]}', "[" * 99_999,
    '{"_data_files": [{"filename": "../outside.arrow"}]}', '{"_data_files": [{"filename": "/etc/passwd"}]}',
    '{"_data_files": [{"filename": "nowhere.arrow"}]}', '{"_data_files": [{"filename": 7}]}', '{"_data_files": []}',
    '{"_data_files": [{"filename": "\\ud800.arrow"}]}', '{"_data_files": [{"filename": "."}]}',
)  # fmt: skip


def hostile_rows(folder: Path, random: Random, turn: int) -> HostileShard:
    """Writes a sound Parquet file of rows with hostile values."""
    kinds, rows = [], [_row("sound-0")]
    for number in range(PER_SHARD):
        kind = list(_VALUES)[(turn * PER_SHARD + number) % len(_VALUES)]
        kinds.append(f"row, {kind}")
        rows += [_row("bad") | _VALUES[kind](random), _row(f"sound-{number + 1}")]
    pq.write_table(_table(rows), folder / "x.parquet", row_group_size=random.choice((1, 7, 100)))
    return between(kinds)


def hostile_table(folder: Path, random: Random, turn: int) -> HostileShard:
    """Writes a table that is odd or broken itself, of each kind in turn, as Parquet or as a Hugging Face dataset."""
    kind, arrow = list(_TABLES)[turn // 2 % len(_TABLES)], turn % 2 == 1
    made = _TABLES[kind](random)
    if arrow:
        state = random.choice(_STATE) if kind == "state" else '{"_data_files": [{"filename": "x.arrow"}]}'
        (folder / "state.json").write_text(state)
    content = made if isinstance(made, bytes) else (_arrow if arrow else _parquet)(made)
    if kind in ("cut", "changed"):
        content = _broken(content, kind, random)
    (folder / ("x.arrow" if arrow else "x.parquet")).write_bytes(content)
    kept = ["sound-0", "sound-1"] if kind in _READABLE else []
    return HostileShard([f"{'Arrow' if arrow else 'Parquet'}, {kind}"], kept)


def _row(key: str) -> dict[str, Any]:
    return {"id": key, "images": [{"bytes": GOOD_PICTURE, "path": None}], "messages": turns()}


def _table(rows: list[dict[str, Any]] | None = None) -> pa.Table:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("images", pa.list_(image)), ("messages", pa.list_(_TURN))])
    return pa.Table.from_pylist([_row("sound-0"), _row("sound-1")] if rows is None else rows, schema=schema)


def _with(name: str, column: pa.Array) -> pa.Table:
    """The two sound rows with another column, or one column more."""
    table = _table()
    at = table.schema.get_field_index(name)
    return table.append_column(name, column) if at < 0 else table.set_column(at, name, column)


def _parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    try:
        pq.write_table(table, file, **options)
    except (pa.ArrowException, OSError):  # Parquet has no such type
        return b"PAR1" + bytes(8) + b"PAR1"
    return file.getvalue()


def _arrow(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return file.getvalue()


def _broken(content: bytes, kind: str, random: Random) -> bytes:
    if kind == "cut":
        return content[: random.randrange(len(content))]
    changed = bytearray(content)
    low = random.choice((0, max(len(content) - 900, 0)))  # the footer of Parquet, or anywhere
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(low, len(content))] = random.randrange(256)
    return bytes(changed)


def _encrypted(random: Random) -> bytes:
    """The columns, and the footer or not."""
    properties = pe.create_encryption_properties(random.randbytes(16), plaintext_footer=random.random() < 0.5)
    return _parquet(_table(), encryption_properties=properties)


def _invalid_text(random: Random) -> pa.Table:
    text = pa.array([b"\xff\xfe", b"\xed\xa0\x80"])
    return _with(random.choice(("id", "caption")), pa.StringArray.from_buffers(2, *text.buffers()[1:]))


def _lying_offsets(random: Random) -> bytes:
    """An Arrow stream whose texts begin and end anywhere."""
    content = _arrow(_with("caption", pa.array(["aaa", "bbb"])))
    lies = random.choice(((0, 6, 3), (0, 1 << 30, 1 << 30), (-9, 0, 1), (2, 1, 0), (0, 0, 2**31 - 1), (1, 2, -1)))
    return content.replace(struct.pack("<3i", 0, 3, 6), struct.pack("<3i", *lies))


def _many_rows(random: Random) -> pa.Table:
    return pa.table({"caption": pa.nulls(random.choice((10**5, 10**7, 10**8)))})


def _deep(random: Random) -> pa.Table:
    column = pa.array(["x", "y"])
    for _ in range(random.choice((5, 20, 50))):
        column = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)
    return _with("messages", column)


def _other_type(random: Random) -> pa.Table:
    name = random.choice(("id", "images", "image", "messages", "conversations", "caption"))
    columns = (
        pa.array([1, 2]), pa.array([1.5, float("nan")]), pa.array([True, None]), pa.nulls(2),
        pa.array([1 << 62, -(1 << 62)], pa.timestamp("s")), pa.array([10**9, 1], pa.date32()),
        pa.array([[1], None]), pa.array([{"a": {"b": [1]}}, None]), pa.array([b"x", b""]),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())), pa.array(["x", "y"], pa.large_string()),
        pa.array(["x", "y"], pa.string_view()), pa.array([b"x", b"y"], pa.binary_view()), pa.array(["x", "[]"]),
        pa.array([1 << 62, 5], pa.duration("s")), pa.array([1, 2], pa.time32("s")), pa.array([1, 2], pa.float16()),
    )  # fmt: skip
    return _with(name, random.choice(columns))


def _json(random: Random) -> pa.Table:
    """Columns of JSON texts that are none, or that hold something else."""
    texts = ("null", "[]", "7", "{", '"\\ud800"', "[" * 9999, '[{"role": "user", "content": [{"type": "image"}]}]', "")
    kind = pa.json_(random.choice((pa.string(), pa.large_string())))
    storage = pa.array([random.choice((None, *texts)) for _ in range(2)], kind.storage_type)
    column = pa.ExtensionArray.from_storage(kind, storage)
    if random.random() < 0.3:
        column = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)
    return _with(random.choice(("messages", "images", "system", "tools", "id")), column)


_VALUES: dict[str, Callable[[Random], dict[str, Any]]] = {
    "nulls": lambda random: dict.fromkeys(random.sample(("id", "images", "messages"), random.randint(1, 3))),
    "null inside": lambda random: random.choice(
        ({"images": [None]}, {"messages": [None]}, {"messages": [{"role": None, "content": None}]})
    ),
    "empty": lambda random: random.choice(
        ({"images": []}, {"messages": []}, {"images": [{"bytes": b"", "path": ""}]}, {"id": ""})
    ),
    "paths": lambda random: {
        "images": [{"bytes": None, "path": random.choice(("/etc/passwd", "../x.png", "s3://x/y.png", "nowhere", "\0"))}]
    },
    "hostile image": lambda random: {"images": [{"bytes": hostile_image(random)[1], "path": "x.png"}]},
    "many images": lambda random: {"images": [{"bytes": b"x", "path": None}] * random.choice((2, 5000))},
    "long text": lambda random: {"messages": [turns()[0], {"role": "assistant", "content": "x" * 10**6}]},
    "many turns": lambda random: {"messages": [*turns(), *turns(images=0) * random.choice((99, 9999))]},
    "forged id": lambda random: {"id": "x\n\x1b[31mERROR\u2028\0"},
}
_TABLES: dict[str, Callable[[Random], pa.Table | bytes]] = {
    "sound": lambda random: _table(),
    "cut": lambda random: _table(),
    "changed": lambda random: _table(),
    "other columns": lambda random: pa.table({"a": [1], "text": ["x"]}),
    "no columns": lambda random: pa.table({}),
    "zero rows": lambda random: _table([]),
    "JSON columns": _json,
    "doubled columns": lambda random: pa.Table.from_arrays([pa.array(["x"])] * 2, names=["caption", "caption"]),
    "other types": _other_type,
    "dictionary columns": lambda random: _with("width", pa.array(["x", "x"]).dictionary_encode()),
    "dictionary ids": lambda random: _with("id", pa.array(["sound-0", "sound-1"]).dictionary_encode()),
    "run-end encoded": lambda random: _with("caption", pa.RunEndEncodedArray.from_arrays([2], ["x"])),
    "unions": lambda random: _with(
        "caption", pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array(["x", ""]), pa.array([1, 2])])
    ),
    "deep columns": _deep,
    "many columns": lambda random: (
        _table().append_column("a", [[1, 2]]).select([*["a"] * 2000, *_table().schema.names])
    ),
    "invalid UTF-8": _invalid_text,
    "lying offsets": _lying_offsets,
    "huge row counts": _many_rows,
    "encrypted": _encrypted,
    "no row groups": lambda random: _without_groups(),
    "other format": lambda random: random.choice((_file_format(), _arrow(_table()), _parquet(_table()))),
    "state": lambda random: _table(),
}
_READABLE = ("sound", "dictionary columns", "dictionary ids", "many columns")


def _without_groups() -> bytes:
    file = io.BytesIO()
    pq.ParquetWriter(file, _table().schema).close()
    return file.getvalue()


def _file_format() -> bytes:
    """Arrow's other format, with a footer, under the ending of the stream."""
    file = io.BytesIO()
    with pa.ipc.new_file(file, _table().schema) as writer:
        writer.write_table(_table())
    return file.getvalue()
