"""Lengths of samples: assumed, counted by the run folder, or measured on shards."""

from pathlib import Path

import pytest

from cli_ray.commands.main import main
from cli_ray.data.index import build_index
from cli_ray.plan.lengths import assumed, measured
from cli_ray.plan.source import shape_named
from cli_ray.storage.folder import Folder
from tests.data.shards import tar_members, write_tar
from tests.plan.configs import run_of


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A tar of four samples, one of them broken."""
    members = tar_members(4)
    members[2] = (members[2][0], b"")
    write_tar(tmp_path / "x.tar", members)
    return tmp_path / "x.tar"


def test_measured_lengths_are_those_that_training_sees(shard: Path) -> None:
    config = run_of("tiny", data={"sources": [{"path": str(shard)}]}, train={"activation_checkpointing": False})
    lengths = measured(config, 100)
    assert (lengths.seen, lengths.quarantined, lengths.samples) == (3, 1, 4.0)
    assert lengths.mean("tiles") == 1
    assert lengths.mean("visual_tokens") == 16
    assert lengths.mean("tokens") > lengths.mean("visual_tokens") + lengths.mean("supervised")
    assert list(lengths.reasons.values()) == [1]


def test_the_index_of_a_run_folder_counts_its_samples(shard: Path, tmp_path: Path) -> None:
    config = run_of("tiny", data={"sources": [{"path": str(shard), "weight": 2}]})
    config = config.model_copy(update={"runs_dir": str(tmp_path / "runs")})
    shape = shape_named(config.model)
    assert assumed(config, shape, 64).samples is None
    Folder(config.folder).write("index.json", build_index(config.data).to_json())
    lengths = assumed(config, shape, 64)
    assert lengths.samples == 8
    assert lengths.source.endswith("counted by the index of the run folder")


def test_a_damaged_index_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        f'name = "a"\nruns_dir = "{tmp_path}"\nmodel.checkpoint = "tiny"\ndata.sources = [{{ path = "x" }}]\n'
        "train.global_batch_size = 4\n"
    )
    Folder(str(tmp_path / "a")).write("index.json", "{")
    assert main(["plan", str(path)]) == 1
    assert "index.json cannot be read" in capsys.readouterr().err
