from pathlib import Path

import pytest

from cli_ray.drill.kill import Outage


def test_a_folder_is_gone_for_a_while_and_then_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    (folder / "step-1").mkdir(parents=True)
    (folder / "step-1/weights").write_text("1")
    with Outage(folder):
        with pytest.raises(NotADirectoryError):
            (folder / "step-2").mkdir()
        with pytest.raises(NotADirectoryError):
            list(folder.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
    assert (folder / "step-1/weights").read_text() == "1"


def test_what_a_run_put_in_its_place_is_kept_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    (folder / "step-1").mkdir(parents=True)
    with Outage(folder):
        folder.unlink()
        (folder / "step-2").mkdir(parents=True)
    assert sorted(path.name for path in folder.iterdir()) == ["step-1", "step-2"]
