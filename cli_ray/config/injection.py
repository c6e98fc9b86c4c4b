"""Cross-Layer Injection and its rivals; stored as it is in the model's own config.json."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section
from cli_ray.config.layers import Layers


class AmpConfig(Section):
    """Adaptive Multi-Projection: from tapped vision layers to the width of the language model."""

    projector: Literal["low_rank", "shared", "full"] = "low_rank"
    """`low_rank`: the shared projector plus a low-rank path per vision layer (the method). `shared`:
    the shared projector alone (AGF-only ablation). `full`: one trained projector per vision layer."""
    rank: int = Field(default=16, ge=1)
    """Rank of the path around the projector."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the path: its output is multiplied by alpha / rank."""
    norm: bool = False
    """RMS-normalise each tapped vision layer before projection."""


class AgfConfig(Section):
    """Adaptive Gating Fusion: one gate per (vision layer, decoder layer, image)."""

    gate: Literal["tanh", "sigmoid", "softmax"] = "tanh"
    """`tanh` starts at exactly 0 (step 0 equals plain LLaVA); `sigmoid` starts nearly closed;
    `softmax` shares weights that sum to 1 among the vision layers."""
    context: Literal["prompt", "visual"] = "prompt"
    """Hidden states the gate reads: `prompt`, everything up to `prompt_end`, or `visual`, the image's own
    positions. Never the whole sequence, which would leak answers. An engine that caches prefixes can serve
    `visual` alone, for under `prompt` what follows an image changes its gates."""
    prompt_end: Literal["next_reply", "first_reply"] = "next_reply"
    """Where the prompt of an image ends: `next_reply`, before the first reply that follows the image;
    `first_reply`, before the first reply of the conversation, even for an image that comes later. The latter is
    how models were trained whose stored config lacks this field, and they keep it."""
    num_heads: int = Field(default=8, ge=1)
    """Attention heads of the two pooling queries."""
    hidden_size: int = Field(default=256, ge=1)
    """Width of the two summaries that the gate reads; a multiple of num_heads."""
    shared: bool = False
    """One set of queries and gates for all decoder layers instead of one each."""
    bias: float = -4.0
    """Initial bias of the sigmoid gate; sigmoid(-4) is 0.018."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size = {self.hidden_size} must be a multiple of num_heads = {self.num_heads}")
        return self


class InjectionConfig(Section):
    """What goes from which vision layers to which decoder layers."""

    kind: Literal["cli", "none", "amp_only", "deepstack", "static", "external"] = "cli"
    """`cli`: the method. `none`: plain LLaVA. `amp_only`: the mean of all projected layers, ungated.
    `deepstack`: the j-th vision layer ungated into the j-th decoder layer. `static`: one vision layer
    into one decoder layer, ungated. `external`: all layers fused at the projector's input."""
    vision_layers: Layers = Layers(at_most=8)
    """Tapped vision layers: 1..L, index k is the output of encoder block k."""
    decoder_layers: Layers = Layers(at_most=8)
    """Decoder layers whose output receives features: 0..L-2."""
    amp: AmpConfig = AmpConfig()
    agf: AgfConfig = AgfConfig()


def stored_injection(values: dict[str, Any]) -> dict[str, Any]:
    """An injection as a model or a run stored it, with the meaning it had then.

    A stored section holds every field there was, so without `agf.prompt_end` it is of a model whose gates read up
    to the first reply.
    """
    agf = values.get("agf")
    return values | {"agf": {"prompt_end": "first_reply"} | agf} if agf else values
