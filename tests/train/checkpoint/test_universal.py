"""Runs that go on with another number of ranks."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from cli_ray.errors import UserError
from cli_ray.train.checkpoint.universal import CONVERTED, convert, load_universal, restore, room_needed, sweep
from cli_ray.train.deepspeed_private import import_deepspeed
from cli_ray.train.run_folder import RunFolder
from tests.train.ranks import on_ranks
from tests.train.resizing import Trace, largest_difference, traces
from tests.train.scenario import Case

CASES = {
    "zero 0": Case(zero_stage=0, micro_batch=2, own_rates=True),
    "zero 2, lora, object store": Case(zero_stage=2, micro_batch=2, own_rates=True, lora=True),
    "zero 3": Case(zero_stage=3, micro_batch=2, own_rates=True, frozen_vision=True),
    "zero 1, bf16": Case(zero_stage=1, micro_batch=2, own_rates=True, precision="bf16"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(runs: Path) -> dict[str, Trace]:
    return traces(CASES, [2], runs / "undisturbed")


@pytest.fixture(scope="module")
def resized(runs: Path) -> dict[str, Trace]:
    """Three ranks do not divide the four micro-batches of a step: one of them stands idle."""
    return traces(CASES, [2, 3, 1], runs / "resized")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_losses_go_on(name: str, undisturbed: dict[str, Trace], resized: dict[str, Trace]) -> None:
    expected, found = undisturbed[name], resized[name]
    assert found.losses[-1] < found.losses[0]
    # bf16 rounds the sums of gradients, which another number of ranks adds up in another order.
    after_switch = 3
    assert found.losses[:after_switch] == pytest.approx(expected.losses[:after_switch], rel=1e-6)
    assert largest_difference(found, expected) < (2e-2 if "bf16" in name else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rates_decays_and_step_counters_go_on(
    name: str, undisturbed: dict[str, Trace], resized: dict[str, Trace]
) -> None:
    expected, found = undisturbed[name], resized[name]
    assert found.groups == expected.groups
    assert len({tuple(group) for group in found.groups}) >= 4
    assert (found.adam_steps, found.engine_steps) == (expected.adam_steps, expected.engine_steps)


@pytest.mark.slow
def test_nothing_is_left(resized: dict[str, Trace], runs: Path) -> None:
    for name in CASES:
        assert {path.name for path in (runs / "resized" / name).iterdir()} <= {"checkpoints", "events.jsonl"}


class Gated(nn.Module):
    """A matrix, and a scalar that is a parameter group of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(8, 8)
        self.gate = nn.Parameter(torch.ones(1))

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """The loss."""
        output_BF: torch.Tensor = self.matrix(x_BF) * self.gate
        return output_BF.square().mean()


def gated_losses(saved: str, first: bool) -> list[float]:
    """Six steps, the checkpoint saved after three; or the last three, going on from it. Called by every rank."""
    deepspeed = import_deepspeed(torch.device("cpu"))
    torch.manual_seed(0)
    model = Gated()
    groups: list[dict[str, Any]] = [{"params": model.matrix.parameters()}, {"params": [model.gate], "lr": 1e-2}]
    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 2}}
    deepspeed.init_distributed(dist_backend="gloo")
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=torch.optim.AdamW(groups), config=config | {"zero_allow_untested_optimizer": True}
    )
    if not first:
        restore(Path(saved), engine)
    losses = []
    for step in range(0 if first else 3, 6):
        if first and step == 3:
            engine.save_checkpoint(saved, tag="shards")
        loss = engine(torch.ones(1, 8))
        engine.backward(loss)
        engine.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
def test_ranks_that_hold_only_padding_of_a_group(tmp_path: Path) -> None:
    [alone] = on_ranks(1, gated_losses, str(tmp_path), True)
    convert(tmp_path / "shards", tmp_path / CONVERTED)
    ranks = on_ranks(3, gated_losses, str(tmp_path), False)
    assert ranks == [pytest.approx(alone[3:], rel=1e-6)] * 3


def shards(folder: Path) -> Path:
    """A folder that has the names of shards, and no content that could be read."""
    saved = folder / "checkpoints/step-1/deepspeed"
    saved.mkdir(parents=True)
    for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        (saved / name).write_bytes(b"cut")
    return saved


def load_damaged(run: str) -> str:
    sweep(RunFolder(run))
    with pytest.raises(UserError) as caught:
        load_universal(RunFolder(run), "checkpoints/step-1", "deepspeed", engine=None)
    return str(caught.value)


@pytest.mark.slow
def test_damaged_shards_are_an_error_on_every_rank_and_leave_nothing(tmp_path: Path) -> None:
    saved = shards(tmp_path)
    (tmp_path / "universal-of-a-killed-process/converted/zero").mkdir(parents=True)
    first, second = on_ranks(2, load_damaged, str(tmp_path))
    assert first == second
    assert first.startswith(f"{saved} cannot be converted for another number of workers: ")
    assert os.listdir(tmp_path) == ["checkpoints"]


def test_too_little_room_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = shards(tmp_path)
    assert room_needed(saved) == 13  # four times 3 bytes, and a tenth
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=11))
    with pytest.raises(UserError, match=rf"takes 13 bytes in {tmp_path}, where 11 are free"):
        convert(saved, tmp_path / CONVERTED)
    assert os.listdir(tmp_path) == ["checkpoints"]
