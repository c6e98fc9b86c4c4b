"""Paths, globs and URIs."""

from pathlib import Path

import pytest

from cli_ray.config.run import absolute
from cli_ray.errors import UserError
from cli_ray.storage.files import ReadAhead, list_files, open_file


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Some files in folders."""
    for name in ("b.tar", "a.tar", "deep/c.tar", "deep/er/d.tar", "note.txt", "_hidden.tar", ".secret/e.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * len(name))
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.tar", "b.tar", "deep/c.tar", "deep/er/d.tar", "note.txt"]),
        ("a.tar", ["a.tar"]),
        ("*.tar", ["a.tar", "b.tar"]),
        ("**/*.tar", ["a.tar", "b.tar", "deep/c.tar", "deep/er/d.tar"]),
        ("deep/*.tar", ["deep/c.tar"]),
        ("d*/er/?.tar", ["deep/er/d.tar"]),
        ("[bc].tar", ["b.tar"]),
    ],
)
def test_paths_folders_and_globs(tree: Path, pattern: str, expected: list[str]) -> None:
    found = list_files(f"{tree}/{pattern}" if pattern else str(tree))
    assert [str(Path(shard.path).relative_to(tree)) for shard in found] == expected
    assert all(shard.size == (tree / shard.path).stat().st_size for shard in found)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{a,b}.tar", ["a.tar", "b.tar"]),
        ("s-{000..002}.tar", ["s-000.tar", "s-001.tar", "s-002.tar"]),
        ("s-{000..001}.{tar,txt}", ["s-000.tar", "s-000.txt", "s-001.tar", "s-001.txt"]),
        ("{d,de}*/er/*.tar", ["deep/er/d.tar"]),
        ("[v1] set", ["[v1] set/s-000.tar"]),
        ("[v1] set/*.tar", ["[v1] set/s-000.tar"]),
        ("[v1] set/s-{000..000}.tar", ["[v1] set/s-000.tar"]),
        ("{x}", ["{x}/s-000.tar"]),
    ],
)
def test_braces_and_brackets(tree: Path, pattern: str, expected: list[str]) -> None:
    names = [f"s-{n:03d}.{ending}" for n in range(3) for ending in ("tar", "txt")]
    for name in (*names, "[v1] set/s-000.tar", "{x}/s-000.tar"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    found = list_files(f"{tree}/{pattern}")
    assert [str(Path(shard.path).relative_to(tree)) for shard in found] == expected
    if "[" not in pattern and pattern != "{x}":
        uris = list_files(f"file://{tree}/{pattern}")
        assert [shard.path for shard in uris] == [f"file://{shard.path}" for shard in found]


def test_every_name_that_braces_stand_for_must_be_there(tree: Path) -> None:
    with pytest.raises(UserError, match=r"c\.tar: no such file"):
        list_files(f"{tree}/{{a,c}}.tar")
    for braces in ("{9..0}", "{0..99999999999}", "{0..999}{0..999}{0..9}"):
        with pytest.raises(UserError, match="stands for no file, or more than 1,000,000"):
            list_files(f"{tree}/{braces}.tar")


def test_the_home_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    assert [shard.path for shard in list_files("~/deep/*.tar")] == [f"{tree}/deep/c.tar"]
    assert absolute("~/deep") == f"{tree}/deep"
    with open_file("~/a.tar") as file:
        assert file.read() == b"x" * 5


def test_uris(tree: Path) -> None:
    for pattern in ("", "/*.tar", "/deep/c.tar"):
        local, uri = list_files(f"{tree}{pattern}"), list_files(f"file://{tree}{pattern}")
        assert [shard.path for shard in uri] == [f"file://{shard.path}" for shard in local]


@pytest.mark.parametrize("path", ["nothing", "*.png", "gopher://x/y"])
def test_nothing_there_is_an_error(tree: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"nothing|\*\.png|gopher"):
        list_files(path if "://" in path else f"{tree}/{path}")


class CountingFile:
    """A file in memory that notes the reads it is asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads: list[tuple[int, int]] = []

    def size(self) -> int:
        """Of the content."""
        return len(self.content)

    def read_at(self, count: int, start: int) -> bytes:
        """As NativeFile."""
        self.reads.append((count, start))
        return self.content[start : start + count]


def test_small_reads_are_served_from_larger_ones() -> None:
    file = CountingFile(bytes(range(256)) * 4)
    ahead = ReadAhead(file, end=600, size=256)
    assert ahead.size() == 1024
    for start in range(100, 600, 10):
        assert ahead.read_at(10, start) == file.content[start : start + 10]
    assert file.reads == [(256, 100), (250, 350)]
    file.reads.clear()
    for count, start in [(500, 20), (5, 30), (40, 1000), (10, 5), (8, 700)]:
        assert ahead.read_at(count, start) == file.content[start : start + count]
    assert file.reads == [(500, 20), (40, 1000), (256, 5), (8, 700)]
