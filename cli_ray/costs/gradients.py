"""Which parts of a model are trained and through which of its tensors gradients flow: what autograd computes and keeps.

`flops` counts the products of backward passes by it, `activations` the tensors that wait for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from cli_ray.config import InjectionConfig, OptimConfig, Part


@dataclass(frozen=True, slots=True)
class LayerGradients:
    """Where in a decoder layer gradients flow."""

    input: bool
    """Through its input."""
    inner: bool
    """Through its own operators."""
    gates: bool
    """Through the gates of what is injected."""
    update: bool
    """Through what is injected."""


class Gradients:
    """Follows the gradients through a model with its parts trained or frozen.

    Args:
        config: of the model.
        injection: resolved.
        optim: whose rates of 0 freeze parts.
        lora_rank: 0 without adapters.
    """

    def __init__(self, config: Any, injection: InjectionConfig, optim: OptimConfig, lora_rank: int) -> None:
        self.depth, self.injected = config.text_config.num_hidden_layers, injection.injected
        self.traits = injection.traits
        trained: set[Part] = {part for part in get_args(Part) if getattr(optim, part).lr}
        self.tower, self.projector, self.llm = (part in trained for part in ("vision_tower", "projector", "llm"))
        self.amp, self.agf = "amp" in trained and self.traits.taps, "agf" in trained and self.traits.gates == "learned"
        self.lora = "lora" in trained and lora_rank > 0
        norm, kind = injection.amp.norm and self.amp, injection.amp.projector
        self.taps_flow = self.traits.injects and (self.tower or norm)
        """Whether gradients reach what AMP projects."""
        self.own = self.amp if kind == "full" else self.projector
        """Whether the projector that AMP calls is trained."""
        low_rank = kind == "low_rank" and self.amp
        self.features_flow = self.traits.injects and (self.taps_flow or self.own or low_rank)
        """Whether what is injected needs its gradient."""
        self.base_flows = self.tower or self.projector or (self.traits.at_projector and self.amp)
        """Whether the image tokens need theirs."""

    def trained(self, part: Part) -> bool:
        """Whether a part is trained."""
        names: dict[Part, str] = {"vision_tower": "tower"}
        return bool(getattr(self, names.get(part, part)))

    def layers(self) -> Iterator[LayerGradients]:
        """Of the decoder layers in turn."""
        flows = self.llm or self.base_flows
        for layer in range(self.depth):
            injects = layer in self.injected
            inner = flows or self.llm or self.lora
            gates = injects and self.traits.gates == "learned" and (self.agf or self.features_flow or inner)
            update = injects and (gates or self.features_flow)
            yield LayerGradients(flows, inner, gates, update)
            flows = inner or update

    @property
    def top_flows(self) -> bool:
        """Whether gradients pass from the logits to the top layer, behind which nothing is injected."""
        return [layer.inner for layer in self.layers()][-1]
