"""What is proposed for a run that does not fit does fit, by the same arithmetic, and is a valid config."""

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from cli_ray.config.load import load
from cli_ray.plan.estimate import Device
from cli_ray.plan.proposal import changed, proposals
from tests.plan.configs import SEVEN, TILED, estimate_of, run_of

TOO_LARGE: list[tuple[str, str, dict[str, Any]]] = [
    (SEVEN, "H100-80GB", {"train": {"activation_checkpointing": False}}),
    (SEVEN, "L40S", {"train": {"zero_stage": 1}}),
    (SEVEN, "RTX-4090", {}),
    (TILED, "A100-40GB", {"train": {"zero_stage": 3, "micro_batch_size": 8}}),
]


@pytest.mark.parametrize(("checkpoint", "gpu", "sections"), TOO_LARGE)
def test_each_proposal_fits_and_can_be_pasted(checkpoint: str, gpu: str, sections: dict[str, Any]) -> None:
    estimate = estimate_of(run_of(checkpoint, **sections), gpu)
    assert not estimate.fits
    found = proposals(estimate)
    assert found
    for proposal in found:
        other = changed(estimate, proposal.change)
        assert other is not None
        assert other.fits
        assert other.memory == proposal.memory
        pasted = tomllib.loads(proposal.toml())
        for name, value in proposal.change.items():
            section: Any = pasted
            for part in name.split("."):
                section = section[part]
            assert section == value


def test_arguments_change_a_config_as_the_lines_do(tmp_path: Any) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'name = "a"\nmodel.checkpoint = "llava-hf/llava-1.5-7b-hf"\ndata.sources = [{ path = "x" }]\n'
        "optim.llm.lr = 2e-5\ntrain = { global_batch_size = 64, micro_batch_size = 8 }\ncluster.num_workers = 8\n"
    )
    estimate = estimate_of(load(str(path)), "A100-40GB")
    proposal = proposals(estimate)[0]
    other = changed(estimate, proposal.change)
    assert other is not None
    assert load(str(path), proposal.arguments().split()) == other.config


def test_one_change_is_preferred_to_several() -> None:
    estimate = estimate_of(run_of(train={"activation_checkpointing": False, "zero_stage": 3}))
    assert not estimate.fits
    assert proposals(estimate)[0].change == {"train.activation_checkpointing": True}


def test_nothing_is_proposed_where_nothing_helps() -> None:
    estimate = estimate_of(run_of())
    assert proposals(replace(estimate, device=Device("a slice", 10**9, 0.0))) == []
