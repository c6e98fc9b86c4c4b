"""Every kind of bad input becomes a hole with id, source and reason; the samples around it come through."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cli_ray.data.encoder import Encoder
from cli_ray.data.sample import BadSample, Encoded
from cli_ray.model.tiny import tiny_processor
from tests.data.shards import data_config, picture, read_all, table_rows, tar_members, turns, write_parquet, write_tar

Make = Callable[[Path], None]
BAD = 1
"""Number of the bad sample in each shard; the ones before and after are good."""


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few hundred bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def thin() -> bytes:
    """A line of pixels."""
    file = io.BytesIO()
    Image.new("1", (65_535, 1)).save(file, "PNG")
    return file.getvalue()


def tar_with(image: bytes | None = None, text: Any = None) -> Make:
    """A tar whose bad sample has another image or .json."""

    def make(folder: Path) -> None:
        members = tar_members(3)
        if image is not None:
            members[2 * BAD] = (members[2 * BAD][0], image)
        if text is not None:
            encoded = text if isinstance(text, bytes) else json.dumps(text).encode()
            members[2 * BAD + 1] = (members[2 * BAD + 1][0], encoded)
        write_tar(folder / "x.tar", members)

    return make


def json_with(record: Any) -> Make:
    """JSON lines whose bad line is another record, or raw bytes."""

    def make(folder: Path) -> None:
        (folder / "good.png").write_bytes(picture())
        (folder / "empty.png").write_bytes(b"")
        (folder / "out.png").symlink_to("/etc/hostname")
        (folder / "folder.png").mkdir()
        good = json.dumps({"image": "good.png", "messages": turns()}).encode()
        bad = record if isinstance(record, bytes) else json.dumps(record).encode()
        (folder / "x.jsonl").write_bytes(b"\n".join([good, bad, good]))

    return make


def json_image(name: Any) -> Make:
    """JSON lines whose bad record names another image."""
    return json_with({"image": name, "messages": turns()})


def rows_with(**fields: Any) -> Make:
    """A Parquet file whose bad row has other values."""

    def make(folder: Path) -> None:
        rows = table_rows(3)
        rows[BAD] |= fields
        write_parquet(folder / "x.parquet", rows)

    return make


def damaged_tar(folder: Path) -> None:
    """A header in the middle is overwritten."""
    tar_with()(folder)
    archive = bytearray((folder / "x.tar").read_bytes())
    at = archive.index(b"00001.png")
    archive[at : at + 20] = b"\xff" * 20
    at = archive.index(b"00001.json")
    archive[at : at + 20] = b"\xff" * 20
    (folder / "x.tar").write_bytes(archive)


CASES: dict[str, tuple[Make, str, str]] = {
    "truncated image": (tar_with(image=picture()[:-300]), "broken image", "truncated"),
    "wrong format": (tar_with(image=b"%PDF-1.7 ..."), "broken image", "no image in any of"),
    "script in place of an image": (tar_with(image=b"%!PS-Adobe-3.0 EPSF-3.0"), "broken image", "no image"),
    "zero-byte image": (tar_with(image=b""), "broken image", "zero bytes"),
    "decompression bomb": (tar_with(image=bomb()), "image too large", "60000 x 60000 pixels"),
    "a line of pixels": (tar_with(image=thin()), "image too large", "65535 x 1 pixels"),
    "too many bytes": (tar_with(image=bytes(2 << 20)), "image too large", "2.0 MiB, above data.max_image_MiB = 1"),
    "many images, too many bytes": (
        json_with({"image": ["good.png"] * 2000, "messages": turns(images=2000)}),
        "image too large",
        "4 times that for a whole sample",
    ),
    "damaged tar header": (damaged_tar, "broken shard", "tar header"),
    "broken json member": (tar_with(text=b'{"messages": ['), "broken record", "the .json is no JSON"),
    "json member of a list": (tar_with(text=[1]), "broken record", "holds list"),
    "deep json": (tar_with(text=b'{"a":' * 100_000), "broken record", "the .json is nested too deeply"),
    "json without a conversation": (tar_with(text={"width": 3}), "wrong columns", "only width, images"),
    "missing file": (json_image("nowhere.png"), "missing image", "'nowhere.png'"),
    "a folder in place of a file": (json_image("folder.png"), "missing image", "'folder.png'"),
    "zero-byte file": (json_image("empty.png"), "broken image", "zero bytes"),
    "climbing path": (json_image("../secret.png"), "forbidden path", "'../secret.png'"),
    "absolute path": (json_image("/etc/hostname"), "forbidden path", "'/etc/hostname'"),
    "url": (json_image("http://localhost/x.png"), "forbidden path", "relative path"),
    "link out of the folder": (json_image("out.png"), "forbidden path", "link out of"),
    "image of a wrong type": (json_image(7), "wrong columns", "holds int"),
    "broken JSON line": (json_with(b'{"image": "good.png", "messages": [{"ro'), "broken record", "no JSON"),
    "line that is no object": (json_with([1, 2]), "broken record", "a JSON list"),
    "invalid UTF-8": (json_with(b'{"messages": "\xff\xfe"}'), "broken record", "utf-8"),
    "half of a surrogate pair": (
        json_with(b'{"id": "\\udc00", "messages": [{"role": "user", "content": "\\ud800"}]}'),
        "broken record",
        "surrogate",
    ),
    "a number without end": (json_with(b'{"messages": ' + b"1" * 10_000 + b"}"), "broken record", "no JSON"),
    "role with half a pair": (json_with(b'{"messages": [{"role": "\\ud800", "content": ""}]}'), "messages", "role"),
    "a key with half a pair": (json_with(b'{"\\ud800": 1}'), "wrong columns", "only \\ud800"),
    "endless turns": (
        rows_with(images=[], messages=turns(images=0) * 1000),
        "too long",
        "2,000 messages, a conversation may have 512",
    ),
    "mark without image": (rows_with(images=[]), "image marks", "1 <image> marks for 0 images"),
    "image without mark": (rows_with(messages=turns(images=0)), "image marks", "0 <image> marks for 1 images"),
    "too many marks": (rows_with(messages=turns(images=3)), "image marks", "3 <image> marks for 1 images"),
    "mark in an answer": (
        rows_with(messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": "<image>"}]),
        "image marks",
        "in an assistant message",
    ),
    "empty conversation": (rows_with(messages=[]), "messages", "empty"),
    "null conversation": (rows_with(messages=None), "wrong columns", "none of messages"),
    "null image": (rows_with(images=[None]), "image marks", "1 <image> marks for 0 images"),
    "null text": (rows_with(messages=[{"role": "user", "content": None}]), "wrong columns", "null"),
    "no answer": (rows_with(messages=turns()[:1]), "messages", "they are user"),
    "two questions": (rows_with(messages=[turns()[0], *turns()]), "messages", "user, user, assistant"),
    "blank answer": (
        rows_with(messages=[turns()[0], {"role": "assistant", "content": " \n"}]),
        "messages",
        "a message is empty",
    ),
    "unknown role": (rows_with(messages=[{"role": "tool", "content": "x"}]), "messages", "'tool'"),
    "over-long sample": (
        rows_with(messages=[turns()[0], {"role": "assistant", "content": "long " * 500}]),
        "too long",
        "data.max_length = 512",
    ),
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """For the tiny LLaVA, with low limits."""
    return Encoder(tiny_processor("llava"), data_config("unused", max_length=512, max_image_MiB=1))


@pytest.mark.parametrize("name", CASES)
def test_bad_input_leaves_a_hole(tmp_path: Path, encoder: Encoder, name: str) -> None:
    make, reason, detail = CASES[name]
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.png").write_bytes(picture())
    make(tmp_path / "data")
    path = next(path for suffix in ("tar", "jsonl", "parquet") for path in (tmp_path / "data").glob(f"*.{suffix}"))
    rows = list(map(encoder, read_all(data_config(path, max_image_MiB=1))))
    assert [type(row) for row in rows] == [Encoded, BadSample, Encoded]
    bad = rows[BAD]
    assert isinstance(bad, BadSample)
    assert bad.id.startswith(f"{path.name}#{BAD}")
    assert bad.source == "s0"
    assert bad.where.startswith(str(path))
    assert bad.reason == reason
    assert detail in bad.detail


def cut_tar(folder: Path) -> None:
    """The archive ends within the last image."""
    tar_with()(folder)
    archive = (folder / "x.tar").read_bytes()
    (folder / "x.tar").write_bytes(archive[: archive.index(b"00002.png") + 700])


def linked_tar(folder: Path) -> None:
    """The last image is a link."""
    import tarfile

    write_tar(folder / "x.tar", tar_members(2))
    with tarfile.open(folder / "x.tar", "a") as tar:
        link = tarfile.TarInfo("00002.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)


@pytest.mark.parametrize(("make", "detail"), [(cut_tar, "cut off"), (linked_tar, "not a file")])
def test_broken_tar_members_at_the_end(tmp_path: Path, make: Make, detail: str) -> None:
    make(tmp_path)
    samples = read_all(data_config(tmp_path))
    bad = [sample for sample in samples if isinstance(sample, BadSample)]
    assert len(samples) == 3
    assert [(sample.id, sample.reason) for sample in bad] == [("x.tar#2:00002", "broken shard")]
    assert detail in bad[0].detail


@pytest.mark.parametrize("name", ["x.tar", "x.parquet", "x.json", "x.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\x00garbage\xff" * 300, b"<html>not found</html>"])
def test_a_shard_that_is_nothing_is_one_hole(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    samples = read_all(data_config(tmp_path))
    assert [type(sample) for sample in samples] == [BadSample]
    assert samples[0].id.startswith(f"{name}#0")


@pytest.mark.parametrize(
    ("columns", "reason", "detail"),
    [
        ({"text": ["a", "b"], "image": [b"", b""]}, "wrong columns", "there are text, image"),
        ({"messages": [1, 2]}, "wrong columns", "messages is int"),
        ({"messages": [["a"], ["b"]]}, "wrong columns", "messages holds str"),
        ({"caption": [1.5, 2.5], "image": [b"", b""]}, "wrong columns", "caption is float"),
        ({"conversations": ["[{", "no"]}, "broken record", "conversations is no JSON"),
    ],
)
def test_wrong_column_types(tmp_path: Path, columns: dict[str, Any], reason: str, detail: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    samples = read_all(data_config(tmp_path))
    assert len(samples) == 2
    for sample in samples:
        assert isinstance(sample, BadSample)
        assert sample.reason == reason
        assert detail in sample.detail


def test_parquet_pages_that_cannot_be_decoded(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", table_rows(8), row_group_size=4)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[4:400] = b"\xff" * 396
    (tmp_path / "x.parquet").write_bytes(content)
    samples = read_all(data_config(tmp_path))
    assert [isinstance(sample, BadSample) for sample in samples] == [True] * 4 + [False] * 4
    assert isinstance(samples[0], BadSample)
    assert samples[0].reason == "broken shard"
