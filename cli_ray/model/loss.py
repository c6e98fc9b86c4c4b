"""The language-model head, which can give the loss of its tokens without the logits of all of them.

The outer models have it (`generation`); training asks for losses, evaluation and generation for logits.

Shapes: K tokens, D width of the language model, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cli_ray.costs.sizes import logits_at_once


class Head(nn.Linear):
    """`lm_head`: logits, or negative log-likelihoods.

    All chunks are in one call of the module: ZeRO-3 gathers the weight once for it and once for its backward pass, so
    ranks meet equally often whatever the number of their tokens.
    """

    def forward(self, h_KD: Tensor, target_K: Tensor | None = None) -> Tensor:
        """Logits Float[..., V]; with targets Float32[K], -log p(target), the logits of a chunk computed again in the
        backward pass where there are several.

        Args:
            h_KD: hidden states, Float[..., D].
            target_K: Int64, a token for each.
        """
        if target_K is None:
            return super().forward(h_KD)
        size = logits_at_once(self.out_features)
        if len(h_KD) <= size:
            return self._nll(h_KD, target_K)
        chunks = zip(h_KD.split(size), target_K.split(size), strict=True)
        # Nothing random is in a chunk.
        losses = [checkpoint(self._nll, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        return torch.cat(losses)

    def _nll(self, h_KD: Tensor, target_K: Tensor) -> Tensor:
        return F.cross_entropy(super().forward(h_KD).float(), target_K, reduction="none")
