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
            kept["gradients"] = {
                name: _gradient(parameter, run.case.zero_stage) for name, parameter in _trained(engine.module)
            }
        apply()

    engine.step = step
    for number in range(steps):
        result = run.engine.train_step(run.share(number), number, factor=1.0)
        kept["losses"].append(mean_loss(run.engine, result.forwards))
        kept["norms"].append(result.grad_norm)
        ids: list[list[str]] = [[]] * dist.get_world_size()
        dist.all_gather_object(ids, [name for forward in result.forwards for name in forward.ids])
        kept["ids"].append(sorted(name for rank in ids for name in rank))
    sharded = run.case.zero_stage > 0
    kept["weights"] = {
        name: (safe_get_full_fp32_param(parameter) if sharded else parameter.detach()).clone()
        for name, parameter in _trained(engine.module)
    }
    return kept


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def _gradient(parameter: Any, stage: int) -> Tensor:
    """The gradient of all ranks; DeepSpeed's `safe_get_full_grad` gives this rank's own at ZeRO 1."""
    if stage == 0:
        whole: Tensor = parameter.grad
    elif stage == 3:
        whole = parameter._z3_optimizer.get_fp32_grad_for_param(parameter)
    else:
        whole = parameter.get_full_hp_grad()
    return whole.clone()


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[float, float]:
    """‖found - expected‖ / ‖expected‖ of all parameters together, and the largest of one."""
    assert found.keys() == expected.keys()
    # The same added to every key changes no attention: what stands in such a gradient is rounding alone.
    names = [name for name in expected if "k_proj.bias" not in name]
    apart = torch.stack([(found[name].double() - expected[name].double()).norm() for name in names])
    norms = torch.stack([expected[name].double().norm() for name in names])
    return float(apart.norm() / norms.norm()), float((apart / norms.clamp(min=1e-30)).max())
