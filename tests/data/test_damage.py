"""What cannot be read of a shard counts as what it held, and is refused where nothing tells how much."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from cli_ray.data.damage import impostor
from cli_ray.data.index import Index, build_index, samples_per_epoch
from cli_ray.data.quarantine import refuse_lost
from cli_ray.data.readers.tar import BLOCK
from cli_ray.data.sample import BadSample, Sample
from cli_ray.errors import UserError
from tests.data.shards import data_config, read_all, table_rows, tar_members, turns, write_parquet, write_tar

COUNT = 40
"""Samples of each shard."""


def records(count: int = COUNT) -> list[dict[str, object]]:
    """Text-only samples of like length."""
    return [{"id": f"{n:03d}", "messages": turns(0, images=0)} for n in range(count)]


def write_json(path: Path) -> None:
    path.write_text(json.dumps(records(), indent=1))


def write_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records()))


def write_arrow(path: Path) -> None:
    """As `Dataset.save_to_disk` writes it, with the state of all shards beside it."""
    table = pa.Table.from_pylist(records())
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    files = [{"filename": name} for name in sorted({*(file.name for file in path.parent.glob("*.arrow")), path.name})]
    (path.parent / "state.json").write_text(json.dumps({"_data_files": files}))


WRITERS: dict[str, Callable[[Path], None]] = {
    "tar": lambda path: write_tar(path, tar_members(COUNT)),
    "parquet": lambda path: write_parquet(path, table_rows(COUNT)),
    "json": write_json,
    "jsonl": write_lines,
    "arrow": write_arrow,
}


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 + 9])  # not at the end of a line, which nothing would tell


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pointer(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 487261223\n")


def page(path: Path) -> None:
    path.write_text("<html><head><title>502 Bad Gateway</title></head></html>" + " " * BLOCK)


def lost_of(index: Index) -> int:
    return sum(damage.samples for damage in index.damages.values())


@pytest.mark.parametrize("damage", [half, empty, pointer, page])
@pytest.mark.parametrize("ending", WRITERS)
def test_a_shard_counts_as_its_neighbours_hold(tmp_path: Path, ending: str, damage: Callable[[Path], None]) -> None:
    for name in "abc":
        WRITERS[ending](tmp_path / f"{name}.{ending}")
    damage(tmp_path / f"b.{ending}")
    data = data_config(tmp_path)
    index = build_index(data)
    assert samples_per_epoch(index, data) == pytest.approx(3 * COUNT, abs=1)
    bad = [sample for sample in read_all(data) if isinstance(sample, BadSample)]
    assert sum(sample.samples for sample in bad) == lost_of(index)
    assert sum(isinstance(sample, Sample) for sample in read_all(data)) + lost_of(index) == index.num_per_source()[0]
    assert lost_of(index) == COUNT or (damage is half and 0 < lost_of(index) <= COUNT)
    with pytest.raises(UserError, match=r"of 120 samples are lost, data.max_bad_share = 1.00%:\n.*b\."):
        refuse_lost(index, data)
    refuse_lost(index, data.model_copy(update={"max_bad_share": 0.4}))


@pytest.mark.parametrize("damage", [half, pointer, page])
@pytest.mark.parametrize("ending", WRITERS)
def test_nothing_tells_how_much_the_only_shard_held(
    tmp_path: Path, ending: str, damage: Callable[[Path], None]
) -> None:
    WRITERS[ending](tmp_path / f"x.{ending}")
    damage(tmp_path / f"x.{ending}")
    data = data_config(tmp_path, max_bad_share=0.9)
    with pytest.raises(
        UserError, match=r"shards were cut or cannot be read.*\n.*nothing tells how many samples it held"
    ):
        refuse_lost(build_index(data), data)
    refuse_lost(build_index(data), data.model_copy(update={"max_bad_share": 1.0}))


def test_what_stands_instead_of_a_shard_is_named(tmp_path: Path) -> None:
    named = {
        pointer: "a git-lfs pointer and not the file of 487,261,223 bytes; fetch it (git lfs pull)",
        page: "an HTML page and not the file (502 Bad Gateway); download it again",
    }
    for write, expected in named.items():
        write(tmp_path / "x")
        assert impostor(str(tmp_path / "x"), (tmp_path / "x").stat().st_size) == expected
    for content, expected in {
        b'<?xml version="1.0"?><Error><Code>No Access</Code></Error>': "an XML page and not the file (No Access)",
        b"\x1f\x8b\x08rest": "a file packed by gzip",
        b"PAR1 and no end": "no Parquet file that can be read: it was cut",
        b"something else": "",
    }.items():
        (tmp_path / "x").write_bytes(content)
        assert impostor(str(tmp_path / "x"), len(content)).startswith(expected)


def test_a_stretch_of_a_tar_counts_as_its_bytes(tmp_path: Path) -> None:
    """The headers of ten samples in the middle are overwritten; the next sound one goes on."""
    path = tmp_path / "x.tar"
    write_tar(path, tar_members(COUNT))
    content = path.read_bytes()
    start, end = (content.index(f"{number:05d}.png".encode()) for number in (10, 20))
    path.write_bytes(content[:start] + b"\xaa" * (end - start) + content[end:])
    data = data_config(path)
    samples = read_all(data)
    [bad] = [sample for sample in samples if isinstance(sample, BadSample)]
    assert len(samples) == 31
    assert 9 <= bad.samples <= 11
    assert (bad.id, bad.reason) == ("x.tar#10", "broken shard")
    assert [sample.id for sample in samples][9::2][:2] == ["x.tar#9:00009", "x.tar#11:00020"]
    refuse_lost(build_index(data), data.model_copy(update={"max_bad_share": 0.3}))


def test_a_member_that_is_not_read_does_not_swallow_others_in_silence(tmp_path: Path) -> None:
    """A size that runs past the end of the file, of a member beside a sound sample."""
    path = tmp_path / "x.tar"
    members = tar_members(COUNT)
    write_tar(path, [*members[:20], ("00009.npy", b"x"), *members[20:]])
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        info = tar.getmember("00009.npy")
    start = info.offset
    info.size = 1 << 30
    content[start : start + BLOCK] = info.tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(content)
    samples = read_all(data_config(path))
    [bad] = [sample for sample in samples if isinstance(sample, BadSample)]
    assert len(samples) == 11
    assert (bad.id, bad.reason) == ("x.tar#10", "broken shard")
    assert "00009.npy: cut off" in bad.detail
    assert 29 <= bad.samples <= 35


def test_an_arrow_stream_cut_between_batches_is_no_shorter_stream(tmp_path: Path) -> None:
    """pyarrow reads it to its end without an error."""
    for name in "ab":
        write_arrow(tmp_path / f"{name}.arrow")
    content = (tmp_path / "b.arrow").read_bytes()
    (tmp_path / "b.arrow").write_bytes(content[: content.rindex(b"\xff" * 4, 0, -8)])  # a message begins with it
    with pa.ipc.open_stream(tmp_path / "b.arrow") as stream:
        assert sum(found.num_rows for found in stream) == 30
    [damage] = build_index(data_config(tmp_path)).damages.values()
    assert (damage.samples, damage.reason) == (10, "the Arrow stream has no end: the file was cut")


WHOLE = json.dumps(records(10))


@pytest.mark.parametrize(
    ("text", "good", "lost", "reason"),
    [
        (WHOLE, 10, 0, ""),
        (WHOLE[:-1], 10, 1, "the JSON array has no end: the file was cut"),
        (WHOLE[:-1] + ",\n", 10, 1, "the JSON array has no end: the file was cut"),
        (WHOLE[:-1] + ",]\n", 10, 0, ""),
        (WHOLE[:-20], 9, 1, "the JSON array has no end: the file was cut"),
        ("[", 0, 1, "the JSON array has no end: the file was cut"),
        (WHOLE.replace('"id": "003"', '"id": "003'), 3, 7, "a bracket or a quote is missing from byte"),
        (WHOLE.replace('{"id": "003"', '[{"id": "003"'), 3, 7, "a bracket or a quote is missing from byte"),
    ],
)
def test_a_json_array_without_its_end(tmp_path: Path, text: str, good: int, lost: int, reason: str) -> None:
    (tmp_path / "x.json").write_text(text)
    data = data_config(tmp_path)
    samples = read_all(data)
    assert sum(isinstance(sample, Sample) for sample in samples) == good
    bad = [sample for sample in samples if isinstance(sample, BadSample)]
    assert sum(sample.samples for sample in bad) == pytest.approx(lost, abs=lost // 7)
    assert all(reason in sample.detail for sample in bad)
    if not lost:
        refuse_lost(build_index(data), data)
        return
    with pytest.raises(UserError, match=reason):
        refuse_lost(build_index(data), data)


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        (["".join(json.dumps(record) for record in records(5))], 5),  # line ends are missing
        ([json.dumps(records(5))], 5),  # an array in one line
        ([json.dumps({"data": records(5)})[:-2]], 5),
        (['{"id": 1, "messages": '], 1),
    ],
)
def test_a_record_that_swallowed_others_counts_as_what_it_held(tmp_path: Path, lines: list[str], lost: int) -> None:
    texts = [json.dumps(record) for record in records(3)]
    (tmp_path / "x.jsonl").write_text("\n".join([*texts, *lines, *texts, ""]))
    samples = read_all(data_config(tmp_path))
    [bad] = [sample for sample in samples if isinstance(sample, BadSample)]
    assert (len(samples), bad.id, bad.samples) == (7, "x.jsonl#3", lost)


def test_a_line_that_is_broken_but_whole_is_one_bad_sample(tmp_path: Path) -> None:
    """No line end is needed after the last one, and a fault in it does not mean that the file was cut."""
    text = "\n".join(json.dumps(record) for record in records(10))
    for content, damaged in ((text, 0), (text[:-1] + ",}", 0), (text[:-9], 1)):
        (tmp_path / "x.jsonl").write_text(content)
        assert len(build_index(data_config(tmp_path)).damages) == damaged


def test_damages_survive_being_stored(tmp_path: Path) -> None:
    for name in "ab":
        write_lines(tmp_path / f"{name}.jsonl")
    half(tmp_path / "b.jsonl")
    data = data_config(tmp_path)
    index = build_index(data)
    again = Index.from_json(index.to_json())
    assert again.damages == index.damages
    assert [again.unit(i) for i in range(len(again))] == [index.unit(i) for i in range(len(index))]
