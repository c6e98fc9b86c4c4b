"""Nothing outside an image folder can be named."""

from pathlib import Path

import pytest

from cli_ray.data.images import join_inside, read_small
from cli_ray.data.sample import BadDataError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two files in folders."""
    for name in ("a.tar", "deep/c.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * len(name))
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["../x.png", "a/../../x.png", "/etc/passwd", "~/x", "https://x.org/a.png", "file:///etc/passwd", "", "a\0b", ".."],
)
def test_names_that_leave_the_folder_are_refused(tree: Path, name: str) -> None:
    with pytest.raises(BadDataError, match="forbidden path"):
        join_inside(str(tree), name)
    with pytest.raises(BadDataError, match="forbidden path"):
        join_inside(f"file://{tree}", name)


def test_links_may_lead_into_further_folders(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As LLaVA's instructions put the images of COCO on another disk."""
    disk = tmp_path_factory.mktemp("disk")
    (disk / "coco").mkdir()
    (disk / "coco" / "1.jpg").write_bytes(b"x")
    (tree / "deep" / "coco").symlink_to(disk / "coco")
    with pytest.raises(BadDataError, match=rf"a link out of .*, to {disk}/coco/1\.jpg; try this"):
        join_inside(str(tree / "deep"), "coco/1.jpg", ["/nowhere"], "; try this")
    for root in (disk, disk / "coco"):
        assert read_small(join_inside(str(tree / "deep"), "coco/1.jpg", [str(root)]), 99) == b"x"
    with pytest.raises(BadDataError, match="forbidden path"):
        join_inside(str(tree / "deep"), "../../disk/coco/1.jpg", [str(disk)])
    (disk / "coco" / "out").symlink_to("/etc/hostname")
    with pytest.raises(BadDataError, match="link out of"):
        join_inside(str(tree / "deep"), "coco/out", [str(disk)])


def test_links_are_followed_before_they_are_judged(tree: Path) -> None:
    (tree / "deep" / "out").symlink_to("/etc/hostname")
    (tree / "deep" / "in").symlink_to(tree / "a.tar")
    with pytest.raises(BadDataError, match="link out of"):
        join_inside(str(tree), "deep/out")
    assert read_small(join_inside(str(tree), "deep/in"), 99) == b"x" * 5
    assert read_small(join_inside(str(tree), "deep/../a.tar"), 99) == b"x" * 5
