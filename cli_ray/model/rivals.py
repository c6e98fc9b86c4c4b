"""What the rivals of AGF need: fixed gates, and a projector that takes several layers.

They run under the same recipe and through the same seam. Called by `backbone`.

Shapes: M decoder layers, N tapped vision layers, C vision width, D width of the language model.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init

from cli_ray.config import InjectionConfig


def fixed_gates(injection: InjectionConfig, like: Tensor) -> Tensor:
    """Float32[M, N], the constant gates of a rival, on the device of `like`.

    `deepstack` sends the j-th vision layer into the j-th decoder layer (arXiv 2406.04334, as Qwen3-VL does),
    `static` one into one (what the paper compares with as SLI), `amp_only` the mean of all into each.
    """
    vision, decoder = len(injection.tapped), len(injection.injected)
    if injection.traits.gates == "mean":
        return torch.full((decoder, vision), 1 / vision, device=like.device)
    return torch.eye(decoder, device=like.device)


class ExternalWeights(nn.Linear):
    """The columns that a widened first projector layer adds, zero at the start."""

    @torch.no_grad()
    def initialize(self) -> None:
        """Set the initial weights."""
        init.zeros_(self.weight)


class ExternalProjector(nn.Module):
    """Mixin of a family's projector over joined layers, before the plain one: `MLP` with the pre-activation
    `linear_1(V_base) + Σ_k E_k V_k`.

    That is the widened first layer of Dense Connector (arXiv 2405.13800), channel integration, grown
    from a trained projector.
    """

    linear_1: nn.Linear
    act: nn.Module
    linear_2: nn.Linear
    external: ExternalWeights

    def forward(self, image_features: Tensor) -> Tensor:
        """Float[..., (1 + N) C], the base layer first -> Float[..., D]."""
        base = self.linear_1.in_features
        inner = self.linear_1(image_features[..., :base]) + self.external(image_features[..., base:])
        projected: Tensor = self.linear_2(self.act(inner))
        return projected


def widen_projector(projector: Any, external_class: type[nn.Module], num_layers: int) -> None:
    """Give the projector, in place, zero weights for `num_layers` more vision layers.

    Args:
        projector: of a plain model.
        external_class: an `ExternalProjector` of its family.
        num_layers: tapped ones.
    """
    projector.__class__ = external_class
    linear = projector.linear_1
    projector.external = ExternalWeights(num_layers * linear.in_features, linear.out_features, bias=False)
