"""Inputs that once stopped a run, ran code, or were lost in silence; each ends as a hole or an error that says why."""

import json
import pickle
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cli_ray.data.fields import MAX_JSON_BYTES
from cli_ray.data.images import Limits, decode
from cli_ray.data.quarantine import Quarantine
from cli_ray.data.sample import BadDataError, BadSample, Sample
from cli_ray.errors import UserError
from tests.data.hostile.pickles import Trap
from tests.data.hostile.shard import sound, tar_member, tar_of
from tests.data.shards import data_config, read_all, tar_members, turns, write_tar
from tests.data.test_images import chunk, saved

LIMITS = Limits(4_000_000, 4 << 20)


def bad_ones(path: Path) -> list[BadSample]:
    """What is bad of a source."""
    return [sample for sample in read_all(data_config(path)) if isinstance(sample, BadSample)]


@pytest.mark.parametrize("nested", [False, True])
def test_ray_datas_pickled_objects_are_not_unpickled(tmp_path: Path, nested: bool) -> None:
    extension = pytest.importorskip("ray.data._internal.object_extensions.arrow")
    pickled = pa.array([pickle.dumps(Trap(tmp_path / "sprung"))], pa.large_binary())
    column = pa.ExtensionArray.from_storage(extension.ArrowPythonObjectType(), pickled)
    column = pa.ListArray.from_arrays([0, 1], column) if nested else column
    pq.write_table(pa.table({"images": column, "caption": ["x"]}), tmp_path / "x.parquet")
    (bad,) = bad_ones(tmp_path / "x.parquet")
    assert (bad.reason, "ray.data.arrow_pickled_object" in bad.detail) == ("wrong columns", True)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["\\ud800.png", "\\udc80.png"])
def test_image_names_with_half_a_pair(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"image": "{name}", "messages": {json.dumps(turns())}}}')
    assert [bad.reason for bad in bad_ones(tmp_path)] == ["forbidden path"]


def test_a_pax_size_of_many_digits(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.json")
        info.pax_headers = {"size": "1" * 5000}
        tar.addfile(info)
    assert "damaged extended header" in bad_ones(tmp_path)[0].detail


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["x"])] * 2, names=["caption", "caption"])
    pq.write_table(table, tmp_path / "x.parquet")
    assert [bad.detail for bad in bad_ones(tmp_path)] == ["2 columns are called caption"]


def test_more_rows_than_a_file_can_hold(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "x.arrow"}]}')
    batch = pa.RecordBatch.from_arrays([pa.nulls(10_000_000)], names=["caption"])
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file, pa.ipc.new_stream(file, batch.schema) as stream:
        stream.write_batch(batch)
    (bad,) = bad_ones(tmp_path)
    assert (bad.reason, "10,000,000 rows" in bad.detail) == ("broken shard", True)


def test_two_texts_of_one_sample(tmp_path: Path) -> None:
    text = json.dumps({"messages": turns(images=0)}).encode()
    write_tar(tmp_path / "x.tar", [("a.json", text), ("a.json", text), ("b.json", text)])
    first, second = read_all(data_config(tmp_path))
    assert isinstance(first, BadSample)
    assert "more than one .json" in first.detail
    assert isinstance(second, Sample)


def test_ids_are_unique_where_shards_share_a_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", tar_members(2) + tar_members(1))
    ids = [sample.id for sample in read_all(data_config(tmp_path))]
    assert len(ids) == len(set(ids)) == 6
    assert ids[0] == "a/0.tar#0:00000"


def test_links_that_lead_back_add_nothing(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    write_tar(tmp_path / "s" / "0.tar", tar_members(1))
    for name in ("one", "two"):
        (tmp_path / "s" / name).symlink_to(tmp_path / "s")
    assert len(read_all(data_config(tmp_path))) == 1


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    Path(str(tmp_path) + "/\udcff.tar").write_bytes(b"x")
    with pytest.raises(UserError, match="not UTF-8"):
        read_all(data_config(tmp_path))


def test_a_deep_state_of_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b"[" * 200_000)
    with pytest.raises(UserError, match="nested too deeply"):
        read_all(data_config(tmp_path))


def test_names_cannot_forge_lines(tmp_path: Path) -> None:
    record = {"id": "a\n\u2028\x1b[31m\0\u202eb", "messages": []}
    (tmp_path / "x\nERROR.jsonl").write_text(json.dumps(record))
    lines: list[str] = []
    (bad,) = bad_ones(tmp_path)
    Quarantine(lines.append, "q").add([bad])
    assert lines[0].isprintable()
    assert json.loads(lines[0])["id"] == r"x\nERROR.jsonl#0:a\n\u2028\x1b[31m\x00\u202eb"


def test_members_in_folders_with_line_ends_are_read(tmp_path: Path) -> None:
    text = json.dumps({"messages": turns(images=0)}).encode()
    write_tar(tmp_path / "x.tar", [("a\nb/c.json", text)])
    (sample,) = read_all(data_config(tmp_path))
    assert sample.id == r"x.tar#0:a\nb/c"


def test_a_jpeg_of_thousands_of_scans() -> None:
    good = saved(Image.new("L", (200, 200), 128), "JPEG", progressive=True)
    start, end = good.rindex(b"\xff\xda"), good.rindex(b"\xff\xd9")
    assert decode(good, LIMITS).size == (200, 200)
    with pytest.raises(BadDataError, match="5,006 scans"):
        decode(good[:end] + good[start:end] * 5000 + good[end:], LIMITS)


def test_a_jpeg_of_thousands_of_exif_segments() -> None:
    good = saved(Image.new("L", (20, 20)), "JPEG")
    with pytest.raises(BadDataError, match="far more blocks"):
        decode(good[:2] + b"\xff\xe1\0\x08Exif\0\0" * 9000 + good[2:], LIMITS)


def test_a_gif_of_thousands_of_comments() -> None:
    good = saved(Image.new("L", (20, 20)), "GIF")
    at = good.index(b",\0\0\0\0")
    assert decode(good[:at] + b"!\xfe\1x\0" * 100 + good[at:], LIMITS).size == (20, 20)
    with pytest.raises(BadDataError, match="far more blocks"):
        decode(good[:at] + b"!\xfe\1x\0" * 100_000 + good[at:], LIMITS)


def test_a_png_of_tiny_chunks() -> None:
    good = saved(Image.new("L", (20, 20)))
    at = good.index(b"IDAT") - 4
    empty = chunk(b"IDAT", b"")
    assert decode(good[:at] + empty * 1000 + good[at:], LIMITS).size == (20, 20)


def test_an_old_sparse_member_is_no_image(tmp_path: Path) -> None:
    """Its holes are not stored, and a map of them stands before its bytes."""
    (tmp_path / "x.tar").write_bytes(
        tar_of(sound("a"))[:-1024] + tar_member("b.png", b"x" * 9, type=tarfile.GNUTYPE_SPARSE) + tar_of(sound("c"))
    )
    first, second, third = read_all(data_config(tmp_path))
    assert isinstance(second, BadSample)
    assert "sparse" in second.detail
    assert isinstance(first, Sample)
    assert isinstance(third, Sample)


def test_a_text_that_is_too_long_is_no_image(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", [("a.json", bytes(MAX_JSON_BYTES + 1)), ("b.txt", bytes(MAX_JSON_BYTES + 1))])
    for bad in bad_ones(tmp_path):
        assert (bad.reason, "8,388,609 bytes, a text may have 8,388,608" in bad.detail) == ("broken record", True)


def test_a_pax_record_of_no_length(tmp_path: Path) -> None:
    header = tar_member("x", b"0 path=x\n", type=tarfile.XHDTYPE)
    (tmp_path / "x.tar").write_bytes(tar_of(sound("a"))[:-1024] + header + tar_of(sound("b")))
    good, bad, *_ = read_all(data_config(tmp_path))
    assert isinstance(good, Sample)
    assert isinstance(bad, BadSample)
    assert "damaged extended header" in bad.detail
