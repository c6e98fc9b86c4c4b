"""Gradients and weights of a few steps, kept for comparing packs with micro-batches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.train.scenario import Case, ScenarioRun, mean_loss

Kept = dict[str, Any]
"""`losses`, `norms` and `ids` of each step, `gradients` of the first before clipping, `weights` after the last."""


def keep_steps(cases: Mapping[str, Case], folder: str, steps: int) -> None:
    """Trains each case for some steps and writes what they gave to `folder/NAME.pt`; called by every rank."""
    for name, case in cases.items():
        kept = train(ScenarioRun(case), steps)
        if dist.get_rank() == 0:
            torch.save(kept, Path(folder, f"{name}.pt"))


def train(run: ScenarioRun, steps: int) -> Kept:
    """Trains some steps."""
    from deepspeed.utils import safe_get_full_fp32_param

    engine = run.engine.deepspeed
    kept: Kept = {"losses": [], "norms": [], "gradients": {}, "ids": []}
    apply = engine.step

    def step() -> None:
        if engine.is_gradient_accumulation_boundary() and not kept["gradients"]:
            kept["gradients"] = {name: _gradient(parameter) for name, parameter in _trained(engine.module)}
        apply()

    engine.step = step
    for number in range(steps):
        result = run.engine.train_step(run.share(number), number, factor=1.0)
        kept["losses"].append(mean_loss(run.engine, result.forwards))
        kept["norms"].append(result.grad_norm)
        kept["ids"].append(sorted(name for forward in result.forwards for name in forward.ids))
    sharded = run.case.zero_stage > 0
    kept["weights"] = {
        name: (safe_get_full_fp32_param(parameter) if sharded else parameter.detach()).clone()
        for name, parameter in _trained(engine.module)
    }
    return kept


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def _gradient(parameter: nn.Parameter) -> Tensor:
    from deepspeed.utils import safe_get_full_grad

    whole = safe_get_full_grad(parameter) if parameter.grad is None else parameter.grad
    return whole.detach().clone()


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest ‖found - expected‖ / ‖expected‖ of all parameters."""
    assert found.keys() == expected.keys()
    shares = []
    for name, tensor in expected.items():
        norm = tensor.double().norm()
        shares.append(float((found[name].double() - tensor.double()).norm() / norm))
    return max(shares)
