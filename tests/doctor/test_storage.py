from pathlib import Path
from typing import Any

import pytest

from cli_ray.doctor import storage
from cli_ray.doctor.cluster import Answers
from cli_ray.doctor.storage import MARKER, check_storage

GIB = 1 << 30


def on_two_nodes(own: dict[str, str], shared: str) -> Any:
    """`on_every_node` for two nodes, each of which has its own folder at one path.

    Args:
        own: folder of each node.
        shared: how the folder is called on both.
    """

    def run(function: Any, folder: str, *arguments: object, timeout_s: float) -> Answers[Any]:
        return Answers({name: function(name, folder.replace(shared, own[name]), *arguments) for name in own})

    return run


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine alone, also where other tests have a cluster."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)


def test_a_good_folder_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (found,) = check_storage(str(tmp_path), timeout_s=60)
    assert found.level == "ok"
    assert "GiB free" in found.what
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file is in the way, which stops root too")
    (found,) = check_storage(str(tmp_path / "runs"), timeout_s=60)
    assert (found.check, found.level) == ("storage", "error")
    assert "cannot be written" in found.what
    assert found.fix


def test_a_read_only_disk_is_told() -> None:
    (found,) = check_storage("/proc/runs", timeout_s=60)
    assert found.level == "error"
    assert "this-machine: /proc/runs cannot be written" in found.what


def test_a_folder_that_is_not_shared_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {name: str(tmp_path / name) for name in ("a", "b")}
    monkeypatch.setattr(storage, "on_every_node", on_two_nodes(own, "/shared"))
    told = [(one.level, one.what) for one in check_storage("/shared/runs", timeout_s=60)]
    assert told == [
        ("error", "a: does not see what b wrote to /shared/runs, which is not shared"),
        ("error", "b: does not see what a wrote to /shared/runs, which is not shared"),
    ]
    assert not list(tmp_path.rglob(f"{MARKER}*"))


def test_nodes_that_share_a_folder_see_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = dict.fromkeys(("a", "b"), str(tmp_path))
    monkeypatch.setattr(storage, "on_every_node", on_two_nodes(own, "/shared"))
    (found,) = check_storage("/shared/runs", timeout_s=60)
    assert found.level == "ok"
    assert found.what.endswith("2 nodes see what each of them wrote")
    assert not list(tmp_path.rglob(f"{MARKER}*"))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Disk:
        free, total = 2 * GIB, 100 * GIB

    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk)
    (found,) = check_storage(str(tmp_path), timeout_s=60)
    assert (found.level, found.what) == (
        "error", f"this-machine: the disk of {tmp_path} is 98% full, 2.0 GiB are free"
    )  # fmt: skip
