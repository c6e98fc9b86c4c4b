"""Injection into the decoder: the state of one forward pass and the decoder layers that apply it.

`backbone` makes both.

Shapes: B samples, T positions, F = B T, D width, R visual rows, I images, N vision layers, M decoder layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from cli_ray.model.agf import FoldedGates
from cli_ray.model.context import Contexts
from cli_ray.model.memory import ContextMemory
from cli_ray.model.rows import Layout, PassState


@dataclass(frozen=True)
class InjectionTrace:
    """What one forward pass injected, on the CPU."""

    gates_MIN: Tensor
    """Float32."""
    added_MR: Tensor
    """Norm of what is added to each visual row, Float32."""
    hidden_MR: Tensor
    """Norm of the hidden states there, before it is added, Float32."""
    image_R: Tensor
    """Image of each row, Int64."""


@dataclass(frozen=True)
class Injection(PassState):
    """What one forward pass adds to the hidden states. Lives as long as that pass, so passes never mix."""

    features_NRD: Tensor
    """Projected features of the tapped vision layers."""
    layout: Layout
    gates: FoldedGates | Tensor
    """AGF's gates, or fixed ones, Float[M, N]."""
    contexts: Contexts | None
    """What AGF may read; None: each image's own positions."""
    memory: ContextMemory | None = None
    """Positions before this pass, and where to keep those of it."""
    applied: dict[int, Tensor] = field(default_factory=dict)
    """Gates by slot, Float32[I, N], detached."""
    norms: dict[int, tuple[Tensor, Tensor]] | None = None
    """By slot, norms of what is added to each visual row and of the hidden states there, Float32[R]; None measures
    none."""
    copies: dict[torch.device, "Injection"] = field(default_factory=dict)
    """The same state by device."""

    def to(self, device: torch.device | int | str) -> "Injection":
        """As the base class; copied once to each device, whatever the number of layers there."""
        device = torch.device(device)
        self.copies.setdefault(self.features_NRD.device, self)
        if device not in self.copies:
            self.copies[device] = super().to(device)
        return self.copies[device]

    def add(self, h_BTD: Tensor, slot: int) -> Tensor:
        """The hidden states with `Σ_k g[k] V̂_k` added at the image positions."""
        before = None if self.memory is None else self.memory.extend(h_BTD, slot)
        gate_IN = self._gate(h_BTD, slot, before)
        self.applied[slot] = gate_IN.detach()
        update_RD = mix(self.features_NRD, gate_IN.to(self.features_NRD.dtype)[self.layout.image_R])
        h_FD = h_BTD.flatten(0, 1)
        if self.norms is not None:
            self.norms[slot] = _norm(update_RD), _norm(h_FD[self.layout.position_R])
        # Under autocast the product is in less precision than the hidden states.
        return h_FD.index_add(0, self.layout.position_R, update_RD.to(h_BTD.dtype)).view_as(h_BTD)

    def applied_gates(self) -> Tensor:
        """Float32[M, I, N], detached, on the device of the last layer."""
        gates = [self.applied[slot] for slot in sorted(self.applied)]
        return torch.stack([gate_IN.to(gates[-1].device) for gate_IN in gates])

    def trace(self) -> InjectionTrace:
        """What the pass injected; it must have been measured."""
        added, hidden = zip(*((self.norms or {})[slot] for slot in sorted(self.applied)), strict=True)
        return InjectionTrace(
            self.applied_gates().cpu(),
            torch.stack([norm_R.cpu() for norm_R in added]),
            torch.stack([norm_R.cpu() for norm_R in hidden]),
            self.layout.image_R.cpu(),
        )

    def _gate(self, h_BTD: Tensor, slot: int, before: tuple[Tensor, Tensor] | None) -> Tensor:
        layout = self.layout
        if isinstance(self.gates, Tensor):
            return self.gates[slot].expand(len(layout.sample_I), -1)
        if self.contexts is None:
            own_IPD = h_BTD.flatten(0, 1)[layout.position_R[layout.row_IP]]
            own = Contexts(layout.real_IP.unsqueeze(1), torch.arange(len(layout.sample_I), device=h_BTD.device))
            return self.gates(slot, own_IPD, own)
        return self.gates(slot, h_BTD, self.contexts, before)


def _norm(x_RD: Tensor) -> Tensor:
    """Float32[R], detached."""
    norm_R: Tensor = torch.linalg.vector_norm(x_RD.detach(), dim=-1, dtype=torch.float32)
    return norm_R


def mix(features_NRD: Tensor, gate_RN: Tensor) -> Tensor:
    """`Σ_k g[r, k] V̂_k[r]` as one small product per row; saves nothing but its two inputs."""
    return (gate_RN.unsqueeze(1) @ features_NRD.transpose(0, 1)).squeeze(1)


class _InjectedLayer(GradientCheckpointingLayer):
    """A decoder layer that adds visual features to its output when it has a slot.

    The work happens inside `forward`, hence inside the layer's activation checkpoint.
    """

    slot: int | None

    def forward(
        self, hidden_states: Tensor, *args: Any, injection: Injection | ContextMemory | None = None, **kwargs: Any
    ) -> Tensor:
        """As the base class; `injection` is the state of this pass, absent in decode steps of a cache that ends."""
        h_BTD: Tensor = super().forward(hidden_states, *args, **kwargs)
        return h_BTD if injection is None or self.slot is None else injection.add(h_BTD, self.slot)


KNOWN = ("LlamaDecoderLayer", "Qwen2DecoderLayer")
"""The decoder layers of LLaVAs, whose language models may be many."""


@cache
def injected(layer: type[nn.Module]) -> type[_InjectedLayer]:
    """The class of a decoder layer with injection in front of its own forward pass."""
    return type(f"Cli{layer.__name__}", (_InjectedLayer, layer), {"__doc__": f"`{layer.__name__}` with injection."})


def upgrade_layers(decoder: PreTrainedModel, decoder_layers: Sequence[int], known: Sequence[str] = KNOWN) -> list[str]:
    """Turn the decoder layers, in place, into ones that inject; the j-th of `decoder_layers` gets slot j.

    All layers are turned, since each is handed the state and must not pass it on to its attention.
    Parameters keep their names.

    Args:
        decoder: the language model, without its head.
        decoder_layers: those that inject.
        known: classes of layers that are known to hand their keywords down and to return the hidden states alone.

    Returns:
        The names of the classes that they have now.

    Raises:
        ValueError: a layer of another class.
    """
    slots = {layer: slot for slot, layer in enumerate(decoder_layers)}
    for index, layer in enumerate(decoder.layers):
        kind: Any = type(layer)
        if kind.__name__ not in known:
            raise ValueError(f"text model with {kind.__name__}: injection knows the layers {', '.join(known)}")
        layer.__class__ = injected(kind)
        layer.slot = slots.get(index)
    return sorted({type(layer).__name__ for layer in decoder.layers})
