"""Paths, globs and URIs; nothing outside an image folder can be named."""

from pathlib import Path

import pytest

from cli_ray.data.files import join_inside, list_files, read_small
from cli_ray.data.sample import BadDataError
from cli_ray.errors import UserError


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


def test_uris(tree: Path) -> None:
    for pattern in ("", "/*.tar", "/deep/c.tar"):
        local, uri = list_files(f"{tree}{pattern}"), list_files(f"file://{tree}{pattern}")
        assert [shard.path for shard in uri] == [f"file://{shard.path}" for shard in local]


@pytest.mark.parametrize("path", ["nothing", "*.png", "gopher://x/y"])
def test_nothing_there_is_an_error(tree: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"nothing|\*\.png|gopher"):
        list_files(path if "://" in path else f"{tree}/{path}")


@pytest.mark.parametrize(
    "name",
    ["../x.png", "a/../../x.png", "/etc/passwd", "~/x", "https://x.org/a.png", "file:///etc/passwd", "", "a\0b", ".."],
)
def test_names_that_leave_the_folder_are_refused(tree: Path, name: str) -> None:
    with pytest.raises(BadDataError, match="forbidden path"):
        join_inside(str(tree), name)
    with pytest.raises(BadDataError, match="forbidden path"):
        join_inside(f"file://{tree}", name)


def test_links_are_followed_before_they_are_judged(tree: Path) -> None:
    (tree / "deep" / "out").symlink_to("/etc/hostname")
    (tree / "deep" / "in").symlink_to(tree / "a.tar")
    with pytest.raises(BadDataError, match="link out of"):
        join_inside(str(tree), "deep/out")
    assert read_small(join_inside(str(tree), "deep/in"), 99) == b"x" * 5
    assert read_small(join_inside(str(tree), "deep/../a.tar"), 99) == b"x" * 5
