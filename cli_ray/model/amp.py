"""Adaptive Multi-Projection: tapped vision layers in the width of the language model.

A module of the inner model (`backbone`), in every kind that injects into decoder layers.

Shapes: N tapped vision layers, S patches and R tokens of all tiles (the same number where each patch is a token), C
vision width, D width of the language model, K rank.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from cli_ray.config import AmpConfig


class Amp(nn.Module):
    """`V̂_k = MLP(V_k) + (alpha / rank) B_k A_k V_k` for all layers at once (arXiv 2601.10710, section 3.2).

    The MLP is the model's own projector, shared by all layers and called once; the low-rank path goes
    around the whole of it and starts at zero.
    """

    def __init__(
        self, config: AmpConfig, num_layers: int, vision_size: int, text_size: int, patches_per_token: int = 1
    ) -> None:
        super().__init__()
        self.config = config
        self.scale = config.alpha / config.rank
        if config.norm:
            self.norm = nn.Parameter(torch.empty(num_layers, 1, vision_size))
        if config.projector == "low_rank":
            self.down = nn.Parameter(torch.empty(num_layers, patches_per_token * vision_size, config.rank))
            self.up = nn.Parameter(torch.empty(num_layers, config.rank, text_size))
        if config.projector == "full":
            self.projectors = StackedProjector(num_layers, vision_size, text_size)

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw the initial weights: `A` as in LoRA, `B` zero."""
        if self.config.norm:
            init.ones_(self.norm)
        if self.config.projector == "low_rank":
            init.normal_(self.down, std=self.down.shape[1] ** -0.5)
            init.zeros_(self.up)

    def forward(
        self, layers: Sequence[Tensor], projector: Any, group: Callable[[Tensor], Tensor] = lambda v_NSC: v_NSC
    ) -> Tensor:
        """Project the tapped layers.

        Args:
            layers: N tensors [..., C] of equal shape, shallowest first.
            projector: the model's own way from patches to tokens, Float[N, S, C] -> Float[N, R, D].
            group: lays the patches of a token side by side as channels for the low-rank path, where a token has
                several, Float[N, S, C] -> Float[N, R, patches C].

        Returns:
            Float[N, R, D].
        """
        v_NSC = torch.stack([layer.flatten(0, -2) for layer in layers])
        if self.config.norm:
            v_NSC = F.rms_norm(v_NSC, v_NSC.shape[-1:], eps=1e-6) * self.norm
        if self.config.projector == "full":
            stacked_NRD: Tensor = self.projectors(v_NSC, projector.act)
            return stacked_NRD
        v_hat_NRD: Tensor = projector(v_NSC).to(v_NSC.device)
        if self.config.projector == "low_rank":
            return torch.baddbmm(v_hat_NRD, group(v_NSC) @ self.down, self.up, alpha=self.scale)
        return v_hat_NRD


class StackedProjector(nn.Module):
    """One two-layer projector per tapped vision layer."""

    def __init__(self, num_layers: int, vision_size: int, text_size: int) -> None:
        super().__init__()
        self.weight_1 = nn.Parameter(torch.empty(num_layers, vision_size, text_size))
        self.bias_1 = nn.Parameter(torch.empty(num_layers, 1, text_size))
        self.weight_2 = nn.Parameter(torch.empty(num_layers, text_size, text_size))
        self.bias_2 = nn.Parameter(torch.empty(num_layers, 1, text_size))

    @torch.no_grad()
    def copy_from(self, projector: Any) -> None:
        """Make every layer's projector a copy of the shared one (`linear_1`, `linear_2`, with or without bias)."""
        for index, linear in ((1, projector.linear_1), (2, projector.linear_2)):
            getattr(self, f"weight_{index}").copy_(linear.weight.T)
            bias = getattr(self, f"bias_{index}")
            bias.zero_() if linear.bias is None else bias.copy_(linear.bias)

    def forward(self, v_NRC: Tensor, act: nn.Module) -> Tensor:
        """Float[N, R, C] -> Float[N, R, D]; `act` is the activation of the shared projector."""
        u_NRD = act(torch.baddbmm(self.bias_1, v_NRC, self.weight_1))
        return torch.baddbmm(self.bias_2, u_NRD, self.weight_2)
