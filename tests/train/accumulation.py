"""How far the gradient of a step in bf16 is from the sum of its micro-batches' gradients.

`python -m tests.train.accumulation` prints it for each ZeRO stage at 8 and 128 micro-batches.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cli_ray.data.collate import MicroBatch
from tests.train.ranks import on_ranks
from tests.train.scenario import GLOBAL_BATCH, Case, ScenarioRun

STAGES = (1, 2, 3)


def accumulation_errors(stages: Sequence[int], micro_batches: int) -> list[float]:
    """Of each stage: ‖found - expected‖ / ‖expected‖ over all trained parameters, on one rank.

    Args:
        stages: ZeRO stages.
        micro_batches: micro-batches of a step, each of one sample; a multiple of 8.
    """
    return [_error(Case(zero_stage=stage, micro_batch=1, precision="bf16"), micro_batches) for stage in stages]


def _error(case: Case, micro_batches: int) -> float:
    single = ScenarioRun(case)
    batches = [batch for step in range(micro_batches // GLOBAL_BATCH) for batch in single.batches(step)]
    expected: Tensor = sum((_gradient(single, [batch]) for batch in batches), torch.zeros(()))
    found = _gradient(ScenarioRun(case), batches)
    # DeepSpeed averages over micro-batches only what its caller has not scaled, so both are plain sums.
    return float((found - expected).norm() / expected.norm())


def _gradient(run: ScenarioRun, batches: Sequence[MicroBatch]) -> Tensor:
    """The gradient of the summed loss after the last micro-batch, fp64, flat; weights do not change."""
    from deepspeed.utils import safe_get_full_grad

    engine = run.engine.deepspeed
    for group in engine.optimizer.param_groups:
        group["lr"] = 0.0
    for number, batch in enumerate(batches, start=1):
        engine.set_gradient_accumulation_boundary(number == len(batches))
        engine.backward(run.engine.forward(batch).nll_S.sum(), scale_wrt_gas=False)
        if number == len(batches):
            trained = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
            gradient = torch.cat([safe_get_full_grad(parameter).double().flatten() for parameter in trained])
        engine.step()
    return gradient


if __name__ == "__main__":
    for count in (8, 128):
        [errors] = on_ranks(1, accumulation_errors, STAGES, count)
        for stage, error in zip(STAGES, errors, strict=True):
            print(f"ZeRO-{stage}, {count} micro-batches: relative error {error:.2e}")
