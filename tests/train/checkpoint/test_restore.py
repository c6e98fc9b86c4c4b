"""Which checkpoint a start goes on from."""

from pathlib import Path

import torch

from cli_ray.errors import UserError
from cli_ray.train.checkpoint.files import MARKER, Checkpoint, Progress, name_of
from cli_ray.train.checkpoint.restore import choose
from cli_ray.train.checkpoint.write import commit, write_shards
from cli_ray.train.run_folder import RunFolder
from tests.train.ranks import on_ranks

CPU = torch.device("cpu")


def run_of(folder: Path, *steps: int) -> RunFolder:
    """A run of two ranks with a complete checkpoint at each of some steps."""
    run = RunFolder(str(folder))
    for step in steps:
        checkpoint = Checkpoint(progress=Progress(step=step), stream={}, world_size=2, zero_stage=2)
        for rank in range(2):
            write_shards(
                run, checkpoint.name, rank, {f"deepspeed/rank{rank}.pt": {"w": torch.full((500,), float(step))}}
            )
        commit(run, checkpoint)
    return run


def chosen(folder: str) -> int | str | None:
    """The step this rank would go on from, or what it says."""
    try:
        checkpoint = choose(RunFolder(folder), CPU)
    except UserError as error:
        return str(error)
    return checkpoint.progress.step if checkpoint else None


def test_the_newest_whole_checkpoint_is_chosen_and_the_rest_is_told(tmp_path: Path) -> None:
    run = run_of(tmp_path, 2, 4, 6, 8)
    (tmp_path / name_of(8) / MARKER).unlink()
    # Files are dealt to the ranks, so each of them finds one of these.
    (tmp_path / name_of(6) / "deepspeed/rank1.pt").write_bytes(b"cut")
    (tmp_path / name_of(4) / "deepspeed/rank0.pt").unlink()
    assert on_ranks(2, chosen, str(tmp_path)) == [2, 2]
    assert run.names("checkpoints") == ["step-00000002"]
    events = run.read("events.jsonl") or ""
    assert events.count("checkpoint left out") == 3
    assert '"reason": "half-written"' in events
    assert "rank1.pt was changed or cut" in events
    assert "rank0.pt is gone" in events


def test_a_run_without_checkpoints_begins(tmp_path: Path) -> None:
    assert on_ranks(1, chosen, str(tmp_path)) == [None]
    (tmp_path / name_of(3)).mkdir(parents=True)
    assert on_ranks(1, chosen, str(tmp_path)) == [None]
    assert not (tmp_path / name_of(3)).exists()


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path: Path) -> None:
    run_of(tmp_path, 2, 4)
    for step in (2, 4):
        (tmp_path / name_of(step) / "deepspeed/rank0.pt").write_bytes(b"cut")
    first, second = on_ranks(2, chosen, str(tmp_path))
    assert first == second
    assert first.startswith(
        f"every checkpoint of {tmp_path} is damaged:\n  {name_of(4)}: deepspeed/rank0.pt was changed"
    )
    assert (tmp_path / name_of(2) / MARKER).exists()


def test_a_marker_of_another_version_is_no_half_written_checkpoint(tmp_path: Path) -> None:
    run_of(tmp_path, 2)
    marker = tmp_path / name_of(2) / MARKER
    marker.write_text('{"progress": {"step": 2, "epoch": 0}, "world_size": 2, "lanes": 2, "zero_stage": 2}')
    [told] = on_ranks(1, chosen, str(tmp_path))
    assert f"{name_of(2)}: {MARKER} is damaged, or of another version of cli_ray: " in told
    assert marker.exists()
