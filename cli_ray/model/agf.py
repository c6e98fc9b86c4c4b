"""Adaptive Gating Fusion: how much of each vision layer each decoder layer takes in.

For decoder layer m and vision layer k (arXiv 2601.10710, section 3.2)

    s_v[k] = attention(q_v; V̂_k)      over the tokens of one image
    s_h    = attention(q_h; H_m)       over the context
    g[k]   = gate(w_v[k] · s_v[k] + w_h[k] · s_h + b[k])

One attention serves both queries, as in the paper's figure. Since each query is a single learned vector,
the key projection folds into it (`q̃ = W_kᵀ W_q q`, a free vector per head, which is what is trained), the
key bias falls out of the softmax, and the output projection folds into the gate's rows. The gate being
linear, the value projection folds into them too: `u[k] = W_vᵀ w[k]`, so that

    w[k] · s = Σ_heads Σ_tokens softmax(x · q̃) (x · u[k])

and no token is ever projected to a full width. The gate has its own rows per vision layer, or a softmax
over the layers could not see the context. Keys and values are RMS-normalised tokens: residual
streams grow by orders of magnitude with depth, and the gate should read directions (our choice; a
learnt scale would fold into q̃ and W_v).

Shapes: M decoder layers, S sets of parameters (M, or 1 when shared), N vision layers, H heads, E summary
width, D width of the language model, R visual rows, I images, P rows of the longest image, X rows of hidden
states (samples or images), K contexts in each, C positions of a row, A those before them in a cache.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import initialization as init

from cli_ray.config import AgfConfig
from cli_ray.model.context import Contexts
from cli_ray.model.gates import Gate
from cli_ray.model.rows import Layout, PassState
from cli_ray.registry import GATES, load

EPS = 1e-6
_GATES: dict[str, Gate] = {name: load(path)() for name, path in GATES.items()}
# All are made here, for torch.compile cannot trace an import in the middle of a forward pass.


@dataclass(frozen=True)
class FoldedGates(PassState):
    """Everything the decoder layers need to gate; no parameters, so it may cross module borders under ZeRO-3."""

    config: AgfConfig
    visual_MIN: Tensor
    """The gate's visual term and bias, fp32."""
    query_MHD: Tensor
    """Folded context queries."""
    value_MNHD: Tensor
    """Folded context values."""

    def __call__(
        self, slot: int, h_XCD: Tensor, contexts: Contexts, before: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """The gates of the `slot`-th injected decoder layer.

        Args:
            slot: number of the layer among those that inject.
            h_XCD: hidden states.
            contexts: what of them each image may read, mask_BKS being Bool[X, K, A + C].
            before: `of_positions` of the A positions in the cache, where there are some.

        Returns:
            Float32[I, N].
        """
        context_XKN = self._context_term(slot, h_XCD, contexts.mask_BKS, before)
        logits_IN = self.visual_MIN[slot] + context_XKN.flatten(0, 1)[contexts.image_I]
        return _GATES[self.config.gate](logits_IN)

    def of_positions(self, slot: int, h_XCD: Tensor) -> tuple[Tensor, Tensor]:
        """All that a context needs of its positions: scores Float32[X, C, H] and values Float32[X, C, N, H]."""
        value_NHD = self.value_MNHD[slot]
        inverse_XC1 = inverse_rms(h_XCD)
        value_XCG = precise(h_XCD @ value_NHD.flatten(0, 1).T) * inverse_XC1
        return self._scores(slot, h_XCD, inverse_XC1), value_XCG.unflatten(-1, value_NHD.shape[:2])

    def _scores(self, slot: int, h_XCD: Tensor, inverse_XC1: Tensor) -> Tensor:
        return precise(h_XCD @ self.query_MHD[slot].T) * inverse_XC1

    def _context_term(self, slot: int, h_XCD: Tensor, mask_XKS: Tensor, before: tuple[Tensor, Tensor] | None) -> Tensor:
        """Float32[X, K, N]. This pass pools hidden states, which is less work than H N values of each position."""
        inverse_XC1 = inverse_rms(h_XCD)
        scores_XSH = self._scores(slot, h_XCD, inverse_XC1)
        if before is not None:
            scores_XSH = torch.cat([before[0], scores_XSH], 1)
        mask_XKS1, length = mask_XKS.unsqueeze(-1), h_XCD.shape[1]
        weight_XKSH = masked_softmax(scores_XSH.unsqueeze(1), mask_XKS1, dim=2)
        # Times the mask, an empty context gives 0; in the small factor that costs no copy of the weights.
        own_XKCH = weight_XKSH[:, :, -length:] * (inverse_XC1.unsqueeze(1) * mask_XKS1[:, :, -length:])
        contexts, heads = own_XKCH.shape[1], own_XKCH.shape[3]
        summary_XGD = own_XKCH.to(h_XCD.dtype).transpose(2, 3).flatten(1, 2) @ h_XCD
        summary_XKHD = summary_XGD.unflatten(1, (contexts, heads))
        term_XKN = precise(summary_XKHD.flatten(2) @ self.value_MNHD[slot].flatten(1).T)
        if before is None:
            return term_XKN
        weight_XKAH = (weight_XKSH * mask_XKS1)[:, :, :-length]
        return term_XKN + torch.einsum("xkah,xanh->xkn", weight_XKAH, before[1])


class Agf(nn.Module):
    """The parameters of all gates. Called once per forward pass, before the decoder."""

    def __init__(self, config: AgfConfig, num_vision: int, num_decoder: int, text_size: int) -> None:
        super().__init__()
        self.config = config
        self.num_decoder = num_decoder
        sets = 1 if config.shared else num_decoder
        heads, width = config.num_heads, config.hidden_size
        self.visual_query = nn.Parameter(torch.empty(sets, heads, text_size))
        self.context_query = nn.Parameter(torch.empty(sets, heads, text_size))
        self.value = nn.Parameter(torch.empty(sets, width, text_size))
        self.visual_gate = nn.Parameter(torch.empty(sets, num_vision, width))
        self.context_gate = nn.Parameter(torch.empty(sets, num_vision, width))
        self.bias = nn.Parameter(torch.empty(sets, num_vision))

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw the initial weights: scores and summaries of unit variance, gates that do not look yet."""
        for parameter in (self.visual_query, self.context_query, self.value):
            init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        for parameter in (self.visual_gate, self.context_gate):
            init.zeros_(parameter)
        init.constant_(self.bias, _GATES[self.config.gate].initial_bias(self.config))

    def forward(self, v_hat_NRD: Tensor | None, layout: Layout | None) -> tuple[Tensor, Tensor, Tensor]:
        """Fold the parameters and compute the visual term of every gate; without images there is none (I = 0).

        Returns:
            The tensors of `FoldedGates`, in its order. ZeRO-3 finds tensors only in tuples, and gathers the
            parameters for the backward pass where it finds them.
        """
        visual_SIN = precise(self.bias).unsqueeze(1)[:, :0]
        if v_hat_NRD is not None and layout is not None:
            visual_SIN = self._visual_term(v_hat_NRD, layout) + precise(self.bias).unsqueeze(1)
        sets = (self.num_decoder,)
        return (
            visual_SIN.expand(*sets, -1, -1),
            # A copy: under ZeRO-3 the parameter's own storage is released after this call.
            self.context_query.clone().expand(*sets, -1, -1),
            self._fold(self.context_gate).expand(*sets, -1, -1, -1),
        )

    def _fold(self, gate_SNE: Tensor) -> Tensor:
        """`u = W_vᵀ w` per head: Float[S, N, E] -> Float[S, N, H, D]."""
        sets, layers, width = gate_SNE.shape
        heads = self.config.num_heads
        gate_SNHE = gate_SNE.view(sets, layers, heads, width // heads)
        value_SHED = self.value.view(sets, heads, width // heads, -1)
        return torch.einsum("snhe,shed->snhd", gate_SNHE, value_SHED)

    def _visual_term(self, v_hat_NRD: Tensor, layout: Layout) -> Tensor:
        """Both sides of the pooling in one product with 2 S H columns; Float32[S, I, N]."""
        layers = v_hat_NRD.shape[0]
        query_NGD = self.visual_query.flatten(0, 1).expand(layers, -1, -1)
        value_NGD = self._fold(self.visual_gate).transpose(0, 1).flatten(1, 2)
        columns_NGD = torch.cat([query_NGD, value_NGD], dim=1)
        inner_NRG = precise(v_hat_NRD @ columns_NGD.transpose(1, 2)) * inverse_rms(v_hat_NRD)
        score_NIPG, value_NIPG = inner_NRG[:, layout.row_IP].chunk(2, dim=-1)
        # Newline positions of OneVision have no visual feature: their rows are exactly zero.
        real_IP = layout.real_IP & v_hat_NRD[0].any(-1)[layout.row_IP]
        weight_NIPG = masked_softmax(score_NIPG, real_IP.unsqueeze(-1), dim=2)
        term_NIG = (weight_NIPG * value_NIPG).sum(2)
        return term_NIG.view(*term_NIG.shape[:2], -1, self.config.num_heads).sum(-1).permute(2, 1, 0)


def precise(x: Tensor) -> Tensor:
    """In fp32 at least: softmaxes and gates are never computed in less."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def inverse_rms(x: Tensor) -> Tensor:
    """1 / RMS over the last dimension, precise, kept as size 1. Saves no copy of `x`."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    return torch.rsqrt(norm.square() / x.shape[-1] + EPS)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the entries where `mask` holds; where it holds nowhere, what is weighted must be 0 itself."""
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim)
