"""AGF of one decoder layer as the paper's words have it: the reference of tests and measurements.

Shapes: I images of equal size, N vision layers, P tokens of an image, C context positions, D width of the
tokens, E width of the attention, H heads.
"""

import torch
from torch import Tensor, nn

from cli_ray.config import AgfConfig


class DirectAgf(nn.Module):
    """Two learned queries, one multi-head attention, one linear gate per vision layer."""

    def __init__(self, config: AgfConfig, num_vision: int, width: int) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.attention = nn.MultiheadAttention(size, config.num_heads, batch_first=True, kdim=width, vdim=width)
        self.query = nn.Parameter(torch.randn(2, size))
        self.gate = nn.Parameter(torch.randn(num_vision, 2 * size))
        self.bias = nn.Parameter(torch.randn(num_vision))
        for bias in (self.attention.in_proj_bias, self.attention.out_proj.bias):
            nn.init.normal_(bias)

    def forward(self, v_hat_INPD: Tensor, context_ICD: Tensor) -> Tensor:
        """Gates for the tokens of each image and its context; Float[I, N]."""
        tokens = v_hat_INPD.flatten(0, 1)
        s_v_INE = self._pool(self.query[0], tokens).view(*v_hat_INPD.shape[:2], -1)
        s_h_INE = self._pool(self.query[1], context_ICD).unsqueeze(1).expand_as(s_v_INE)
        logits_IN = (self.gate * torch.cat([s_v_INE, s_h_INE], -1)).sum(-1) + self.bias
        match self.config.gate:
            case "tanh":
                return logits_IN.tanh()
            case "sigmoid":
                return logits_IN.sigmoid()
        return logits_IN.softmax(-1)

    def _pool(self, query_E: Tensor, x_XPD: Tensor) -> Tensor:
        query_X1E = query_E.expand(len(x_XPD), 1, -1)
        pooled: Tensor = self.attention(query_X1E, x_XPD, x_XPD, need_weights=False)[0]
        return pooled.squeeze(1)

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        """The parameters of `Agf` for one decoder layer that give the same gates."""
        attention, size, heads = self.attention, self.config.hidden_size, self.config.num_heads
        weight_q, weight_k, weight_v = attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight
        bias_q, _, bias_v = attention.in_proj_bias.view(3, size)
        projected_2HE = (self.query @ weight_q.T + bias_q).view(2, heads, -1) * (size // heads) ** -0.5
        queries_2HD = torch.einsum("qhe,hed->qhd", projected_2HE, weight_k.view(heads, size // heads, -1))
        gates_2NE = self.gate.view(len(self.gate), 2, size).transpose(0, 1)
        offset_N = gates_2NE.sum(0) @ (attention.out_proj.weight @ bias_v + attention.out_proj.bias)
        visual_gate, context_gate = gates_2NE @ attention.out_proj.weight
        return {
            "visual_query": queries_2HD[0],
            "context_query": queries_2HD[1],
            "value": weight_v.clone(),
            "visual_gate": visual_gate,
            "context_gate": context_gate,
            "bias": self.bias + offset_N,
        }
