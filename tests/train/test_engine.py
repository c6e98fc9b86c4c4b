from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from cli_ray.train.deepspeed_private import set_timeouts
from cli_ray.train.engine import deepspeed_config
from tests.train.accumulation import STAGES, accumulation_errors
from tests.train.ranks import on_ranks
from tests.train.scenario import Case, config_of, step_losses

ALIKE = {
    "zero 0": Case(zero_stage=0),
    "zero 1": Case(zero_stage=1),
    "zero 2": Case(zero_stage=2),
    "zero 3": Case(zero_stage=3),
    "zero 3, checkpointing": Case(zero_stage=3, checkpointing=True),
    "zero 2, accumulation 2, rehearsed": Case(zero_stage=2, micro_batch=2, rehearse=True),
    "zero 3, rehearsed": Case(zero_stage=3, rehearse=True),
}
"""All train the same model on the same global batches; a half batch without images falls to rank 1."""
PAIRS = {
    "onevision, frozen language model": Case(family="llava_onevision", frozen_llm=True),
    "lora": Case(lora=True),
    "external": Case(kind="external"),
}
"""Each is run at ZeRO 2 and 3."""
BF16 = {f"bf16, zero {stage}": Case(zero_stage=stage, precision="bf16") for stage in STAGES}


@pytest.fixture(scope="module")
def reference() -> list[float]:
    """One rank, one micro-batch a step."""
    losses: list[float] = on_ranks(1, step_losses, [Case(zero_stage=0, micro_batch=8)])[0][0]
    return losses


@pytest.fixture(scope="module")
def two_ranks() -> dict[str, list[float]]:
    cases = ALIKE | BF16 | PAIRS | {f"{name}, zero 3": replace(case, zero_stage=3) for name, case in PAIRS.items()}
    first, second = on_ranks(2, step_losses, list(cases.values()))
    assert first == second
    return dict(zip(cases, first, strict=True))


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.slow
def test_losses_do_not_depend_on_ranks_stage_or_accumulation(
    name: str, reference: list[float], two_ranks: dict[str, list[float]]
) -> None:
    assert reference[-1] < reference[0]
    assert two_ranks[name] == pytest.approx(reference, rel=2e-5)


@pytest.mark.parametrize("name", BF16)
@pytest.mark.slow
def test_bf16_goes_the_way_of_fp32_at_every_stage(
    name: str, reference: list[float], two_ranks: dict[str, list[float]]
) -> None:
    assert two_ranks[name] == pytest.approx(reference, rel=1e-2)


@pytest.mark.slow
def test_gradients_of_micro_batches_are_added_up_in_fp32() -> None:
    [errors] = on_ranks(1, accumulation_errors, STAGES, 8)
    assert max(errors) < 1e-7


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.slow
def test_zero_2_and_3_agree_on_ranks_with_and_without_images(name: str, two_ranks: dict[str, list[float]]) -> None:
    assert two_ranks[name][-1] < two_ranks[name][0]
    assert two_ranks[f"{name}, zero 3"] == pytest.approx(two_ranks[name], rel=2e-5)


def test_one_rank_with_accumulation_or_checkpointing_equals_one_without(reference: list[float]) -> None:
    cases = [Case(zero_stage=1, micro_batch=2), Case(zero_stage=2, micro_batch=8, checkpointing=True)]
    [losses] = on_ranks(1, step_losses, cases)
    assert losses[0] == pytest.approx(reference, rel=2e-5)
    assert losses[1] == pytest.approx(reference, rel=2e-5)


@pytest.mark.slow
def test_dropout_does_not_depend_on_ranks_or_accumulation() -> None:
    case = Case(lora=True, dropout=0.3)
    [alone] = on_ranks(1, step_losses, [case, replace(case, dropout=0.0)])
    [two, _] = on_ranks(2, step_losses, [case])
    assert two[0] == pytest.approx(alone[0], rel=2e-5)
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)


def test_deepspeed_config_carries_the_run_config() -> None:
    config = deepspeed_config(config_of(Case(zero_stage=3, micro_batch=2)))
    assert config["zero_optimization"]["stage"] == 3
    assert config["train_micro_batch_size_per_gpu"] == 2
    assert config["bf16"] == {"enabled": False}


def group_timeouts() -> list[float]:
    """Of the group of all ranks and of one that DeepSpeed would make, in seconds."""
    dist.new_group([0])
    set_timeouts(timedelta(seconds=1920))
    groups = list(dist.distributed_c10d._world.pg_map)
    return [one._get_backend(torch.device("cpu")).options._timeout.total_seconds() for one in groups]


def test_all_groups_wait_as_long_as_the_config_says() -> None:
    assert on_ranks(1, group_timeouts) == [[1920.0, 1920.0]]
