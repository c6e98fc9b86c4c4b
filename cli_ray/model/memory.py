"""What a kept cache must hold for the gates of images to come.

`backbone` makes it, `injection` fills it.

Shapes: B samples, T positions of this pass, P positions in the cache before them, D width of the language model,
H heads, N vision layers.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer

from cli_ray.model.agf import FoldedGates
from cli_ray.model.rows import PassState


@dataclass(frozen=True)
class ContextMemory(PassState):
    """What the gates of images to come read of the positions before them, kept in the cache beside keys and values.

    A softmax over positions needs their scores and values only, so these are what is kept: 4 H (1 + N) bytes a
    position and injected decoder layer. They lie in layers of their own behind those of the decoder, so whatever
    reorders, repeats or cuts a cache does it to them too.
    """

    layers: list[Any]
    """Of the cache, one for each decoder layer that injects, on its device."""
    gates: FoldedGates

    def add(self, h_BTD: Tensor, slot: int) -> Tensor:
        """Keeps the positions of a pass without images; the hidden states stay as they are."""
        self.extend(h_BTD, slot)
        return h_BTD

    def extend(self, h_BTD: Tensor, slot: int) -> tuple[Tensor, Tensor] | None:
        """Keeps the positions of a pass; scores Float32[B, P, H] and values [B, P, N, H] of those before."""
        layer, shape = self.layers[slot], self.gates.value_MNHD.shape[1:3]
        before = None
        if layer.get_seq_length():
            before = layer.keys.squeeze(1), layer.values.squeeze(1).unflatten(-1, shape)
        score_BTH, value_BTNH = self.gates.of_positions(slot, h_BTD)
        layer.update(score_BTH.unsqueeze(1), value_BTNH.flatten(2).unsqueeze(1))
        return before


def memory_layers(cache: Any, num_layers: int, slots: int) -> list[Any] | None:
    """The layers of a cache that hold a `ContextMemory`, added where the cache is empty.

    Args:
        cache: keys and values of the language model.
        num_layers: of the decoder.
        slots: its layers that inject.

    Returns:
        None where the cache holds positions that were not kept, or is of a kind that cannot grow with them.
    """
    if cache.is_compileable or cache.offloading:
        return None
    past = cache.get_seq_length()
    if past == 0:
        while len(cache.layers) < num_layers:
            cache.layers.append(cache.layer_class_to_replicate())
        cache.layers[num_layers:] = [DynamicLayer() for _ in range(slots)]
    layers = cache.layers[num_layers:]
    return layers if len(layers) == slots and all(layer.get_seq_length() == past for layer in layers) else None
