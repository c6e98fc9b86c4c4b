"""A checkpoint's files: what was written is what is read, or the fault is named."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cli_ray.train.checkpoint.files import MARKER, Checkpoint, Progress, complete_checkpoints, name_of
from cli_ray.train.checkpoint.write import commit, damage, write_shards
from cli_ray.train.run_folder import RunFolder

STATES: list[dict[str, Any]] = [
    {"deepspeed/model.pt": {"w": torch.arange(5000.0)}, "deepspeed/rank0.pt": {"step": 3}},
    {"deepspeed/rank1.pt": {"m": torch.ones(7)}},
]


@pytest.fixture(params=["{}", "file://{}"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    return RunFolder(request.param.format(tmp_path))


def written(folder: RunFolder, step: int = 4) -> Checkpoint:
    checkpoint = Checkpoint(progress=Progress(step=step), stream={"epoch": 1}, world_size=2, zero_stage=2)
    for rank, state in enumerate(STATES):
        write_shards(folder, checkpoint.name, rank, state)
    return checkpoint


def test_a_checkpoint_is_complete_once_it_is_marked(folder: RunFolder) -> None:
    checkpoint = written(folder)
    assert complete_checkpoints(folder) == []
    commit(folder, checkpoint)
    [complete] = complete_checkpoints(folder)
    assert complete.model_copy(update={"files": {}}) == checkpoint
    assert set(complete.files) == {path for state in STATES for path in state}
    assert damage(folder, complete, complete.files) is None
    loaded = torch.load(Path(folder.path) / complete.name / "deepspeed/model.pt", weights_only=True)
    assert loaded["w"].equal(STATES[0]["deepspeed/model.pt"]["w"])


def test_a_marker_that_was_cut_marks_nothing(folder: RunFolder) -> None:
    commit(folder, written(folder, step=2))
    commit(folder, written(folder, step=4))
    marker = Path(folder.path) / name_of(4) / MARKER
    marker.write_text(marker.read_text()[:-20])
    assert [checkpoint.progress.step for checkpoint in complete_checkpoints(folder)] == [2]


def test_damage_is_named(folder: RunFolder) -> None:
    commit(folder, written(folder))
    [complete] = complete_checkpoints(folder)
    path = Path(folder.path) / complete.name / "deepspeed/model.pt"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "model.pt was changed or cut: " in str(damage(folder, complete, complete.files))
    assert f"{len(content) - 1:,} bytes instead of {len(content):,}" in str(damage(folder, complete, complete.files))
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    assert "content (sha256" in str(damage(folder, complete, complete.files))
    assert damage(folder, complete, ["deepspeed/rank1.pt"]) is None
    path.unlink()
    assert damage(folder, complete, complete.files) == "deepspeed/model.pt is gone"


def test_a_storage_fault_is_an_os_error_and_another_try_begins_anew(folder: RunFolder) -> None:
    checkpoints = Path(folder.path) / "checkpoints"
    checkpoints.write_text("a file where a folder should be")
    with pytest.raises(OSError, match="checkpoints"):
        written(folder)
    checkpoints.unlink()
    commit(folder, written(folder))
    [complete] = complete_checkpoints(folder)
    assert damage(folder, complete, complete.files) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    (tmp_path / name_of(1) / "deepspeed").mkdir(parents=True)
    (tmp_path / name_of(1) / "deepspeed/model.pt").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        write_shards(folder, name_of(1), 0, {"deepspeed/model.pt": {"w": torch.zeros(1 << 20)}})
