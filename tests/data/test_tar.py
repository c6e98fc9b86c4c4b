"""The walk over a tar finds what `tarfile` finds, and goes on where `tarfile` stops."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli_ray.data.readers.tar import Member, members
from cli_ray.storage.files import open_file

FILES = [("a.txt", b"one"), ("deep/" + "n" * 150 + ".txt", b"two" * 400), ("ü.txt", b""), ("d.txt", b"4" * 512)]


def tar_bytes(tar_format: int = tarfile.PAX_FORMAT, files: Sequence[tuple[str, bytes]] = FILES) -> bytes:
    """A tar archive in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def walk(path: Path, content: bytes) -> list[Member]:
    """The members of an archive."""
    path.write_bytes(content)
    with open_file(str(path)) as file:
        return list(members(file, 0, len(content)))


def offset_of(archive: bytes, name: str) -> int:
    """Where the header block of a member is."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getmember(name).offset_data - tarfile.BLOCKSIZE


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_agrees_with_tarfile(tmp_path: Path, tar_format: int) -> None:
    files = [(name, text) for name, text in FILES if tar_format != tarfile.USTAR_FORMAT or len(name) < 100]
    archive = tar_bytes(tar_format, files)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        expected = [(info.name, info.offset, info.offset_data, info.size, "") for info in tar]
    found = [(m.name, m.start, m.data, m.size, m.problem) for m in walk(tmp_path / "x.tar", archive)]
    assert found == expected


def test_concatenated_archives_are_read_to_the_end(tmp_path: Path) -> None:
    assert [m.name for m in walk(tmp_path / "x.tar", tar_bytes() * 2)] == [name for name, _ in FILES] * 2


def test_goes_on_after_a_damaged_header(tmp_path: Path) -> None:
    archive = bytearray(tar_bytes())
    at = offset_of(bytes(archive), FILES[1][0])
    archive[at : at + 8] = b"\xff" * 8
    found = walk(tmp_path / "x.tar", bytes(archive))
    assert [m.name for m in found] == ["a.txt", "", "ü.txt", "d.txt"]
    assert "checksum" in found[1].problem


@pytest.mark.parametrize("kept", [300, 700, 1100])
def test_a_cut_archive_says_so(tmp_path: Path, kept: int) -> None:
    archive = tar_bytes(files=[("a.txt", b"x" * 100), ("b.txt", b"y" * 100)])[:kept]
    assert walk(tmp_path / "x.tar", archive)[-1].problem == {
        300: "truncated header",
        700: "",  # only padding is missing
        1100: "truncated header",
    }.get(kept)
    cut = tar_bytes(files=[("a.txt", b"x" * 100)])[:550]
    assert walk(tmp_path / "x.tar", cut)[-1].problem == "cut off: 38 of 100 bytes are there"


def test_links_devices_and_sparse_members_are_problems(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"of-type-{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        sparse = tarfile.TarInfo("sparse.jpg")
        sparse.pax_headers = {"GNU.sparse.major": "1"}
        tar.addfile(sparse)
    found = walk(tmp_path / "x.tar", buffer.getvalue())
    assert [m.name[-5] for m in found] == ["2", "1", "3", "6", "e"]
    assert all(m.problem for m in found)


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"not octal\0\0\0"])
def test_absurd_sizes_do_no_harm(tmp_path: Path, size: bytes) -> None:
    archive = bytearray(tar_bytes(tarfile.USTAR_FORMAT, [("a.txt", b"1"), ("b.txt", b"2")]))
    archive[124:136] = size
    checksum = sum(archive[:148]) + 8 * 32 + sum(archive[156:512])
    archive[148:156] = b"%06o\0 " % checksum
    found = walk(tmp_path / "x.tar", bytes(archive))
    assert found[0].problem
    assert sum(bool(m.problem) for m in found) == 1
    assert all(m.end <= len(archive) for m in found)


def test_ranges_give_the_same_members_as_the_whole(tmp_path: Path) -> None:
    archive = tar_bytes()
    whole = walk(tmp_path / "x.tar", archive)
    with open_file(str(tmp_path / "x.tar")) as file:
        assert [next(members(file, m.start, m.end)) for m in whole] == whole


def test_long_stretches_of_zeros_and_garbage_are_passed(tmp_path: Path) -> None:
    """Longer than what is read at once, and not a multiple of it."""
    archive = tar_bytes()
    gap = (3 << 20) + 5 * 512
    found = walk(tmp_path / "x.tar", archive + bytes(gap) + archive + b"\xff" * gap + archive)
    assert [m.name for m in found] == [name for name, _ in FILES] * 2 + [""] + [name for name, _ in FILES]
    assert found[8].end == 2 * len(archive) + 2 * gap
