"""The run folder of a trial."""

from pathlib import Path

import pytest
import torch

from cli_ray.config import InjectionConfig, RunConfig
from cli_ray.model.build import build_model
from cli_ray.train.checkpoint import Checkpoint, complete_checkpoints, name_of
from cli_ray.train.folder import RunFolder
from cli_ray.train.progress import Progress
from cli_ray.tune.trial import added_parameters, fork


@pytest.fixture
def donor(tmp_path: Path) -> RunFolder:
    """A run with the checkpoints of steps 4 and 6."""
    folder = RunFolder(str(tmp_path / "donor"))
    for step in (4, 6):
        one = Checkpoint(progress=Progress(step=step), stream={"lanes": 1}, world_size=1, zero_stage=2)
        folder.write(f"{name_of(step)}/deepspeed/weights.pt", f"weights of step {step}")
        folder.write(f"{name_of(step)}/progress.json", one.model_dump_json())
    folder.write("index.json", "the index")
    folder.write("config.json", "of the donor alone")
    return folder


@pytest.mark.parametrize(("asked", "given"), [(4, 4), (6, 6), (2, 6)])
def test_a_fork_begins_with_the_checkpoint_or_the_newest_where_it_is_gone(
    donor: RunFolder, tmp_path: Path, asked: int, given: int
) -> None:
    run = RunFolder(str(tmp_path / "run"))
    fork(donor, run, asked)
    assert [one.progress.step for one in complete_checkpoints(run)] == [given]
    assert run.read(f"{name_of(given)}/deepspeed/weights.pt") == f"weights of step {given}"
    assert run.read("index.json") == "the index"
    assert not run.exists("config.json")


@pytest.mark.parametrize("kind", ["cli", "amp_only", "none", "external"])
def test_added_parameters_are_those_of_the_model_that_is_built(kind: str) -> None:
    values = {
        "name": "a",
        "model": {"checkpoint": "tiny"},
        "data": {"sources": [{"path": "x"}]},
        "injection": {"kind": kind, "vision_layers": [2, 4], "decoder_layers": [0, 2]},
        "optim": {"llm": {"lr": 1e-3}},
    }
    config = RunConfig.model_validate(values)

    def size(injection: InjectionConfig) -> int:
        model = build_model(config.model, injection, config.lora, dtype=torch.float32, seed=0)
        return sum(one.numel() for one in model.parameters())

    assert added_parameters(config) == size(config.injection) - size(InjectionConfig(kind="none"))
