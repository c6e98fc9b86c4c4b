"""The token that comes next in each row of a batch: the likeliest, or one drawn as the row's request says.

The engine gives it to `generate`, which decodes greedily and so takes what is drawn here.

Shapes: B rows, D rows that draw, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from cli_ray.inference.sampling import Sampling


class Draw(LogitsProcessor):
    """Leaves the scores of greedy rows, and of the others the drawn token alone.

    Each row has its own generator, on the CPU, and takes one number from it for each token: what it draws depends
    neither on its place in the batch nor on the device.

    Args:
        rows: how each row of the batch is made.
    """

    def __init__(self, rows: Sequence[Sampling]) -> None:
        self._rows = [row for row, sampling in enumerate(rows) if sampling.temperature]
        drawing = [rows[row] for row in self._rows]
        self._temperature_D1 = torch.tensor([[sampling.temperature] for sampling in drawing])
        self._top_p_D1 = torch.tensor([[sampling.top_p] for sampling in drawing])
        self._generators = [_generator(sampling.seed) for sampling in drawing]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """As in transformers; scores is Float32[B, V]."""
        if not self._rows:
            return scores
        device = scores.device
        scores_DV = scores[self._rows]
        # The largest score is 0 before the division, so that a small temperature overflows nothing.
        scores_DV = (scores_DV - scores_DV.amax(1, keepdim=True)) / self._temperature_D1.to(device)
        probability_DV, token_DV = scores_DV.softmax(1).sort(dim=1, descending=True, stable=True)
        total_DV = probability_DV.cumsum(1)
        kept_DV = total_DV - probability_DV < self._top_p_D1.to(device)  # the first is always kept
        mass_D1 = (probability_DV * kept_DV).sum(1, keepdim=True)
        drawn_D1 = torch.stack([torch.rand(1, generator=generator) for generator in self._generators]).to(device)
        place_D1 = (total_DV <= drawn_D1 * mass_D1).sum(1, keepdim=True).minimum(kept_DV.sum(1, keepdim=True) - 1)
        only_DV = torch.full_like(scores_DV, -torch.inf).scatter(1, token_DV.gather(1, place_D1), 0.0)
        scores = scores.clone()
        scores[self._rows] = only_DV
        return scores


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed % 2**63)
    return generator
