"""The section `injection`: Cross-Layer Injection and its rivals, and which layers of the two stacks take part.

A run config holds it, and a model stores it in its own config.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section
from cli_ray.registry import GATES

METHOD = "[Cross-Layer Injection](https://arxiv.org/abs/2601.10710)"


class Layers(Section):
    """Which layers of a stack take part: one of `layers`, `count`, `at_most` and `stride`.

    In TOML a bare list stands for `{layers = [...]}`.
    """

    layers: tuple[int, ...] = ()
    """Explicit layer indices; negative ones count from the end of the whole stack, as in Python: of 24 vision blocks,
    -2 is the output of block 23, as in `hidden_states` of transformers and in LLaVA."""
    count: int | None = Field(default=None, ge=1)
    """This many layers, spread evenly."""
    at_most: int | None = Field(default=None, ge=1)
    """As `count`, and all of them in a model that has fewer; one of the others takes its place."""
    stride: int | None = Field(default=None, ge=1)
    """Every n-th layer."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_list(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"layers": value}
        # The command line hands the default on beside what is set there.
        if isinstance(value, dict) and any(value.get(name) for name in ("layers", "count", "stride")):
            return value | {"at_most": None}
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [bool(self.layers), *(number is not None for number in (self.count, self.at_most, self.stride))]
        if sum(given) != 1:
            raise ValueError("give exactly one of layers = [...], count = n, at_most = n and stride = n")
        return self

    def resolve(self, choices: Sequence[int], anchor: str, stack: str, length: int) -> tuple[int, ...]:
        """The chosen indices, ascending.

        Args:
            choices: the indices that may be tapped, ascending and contiguous.
            anchor: "first" keeps the first choice in a count or stride, "last" the last one.
            stack: the name of the field, for the error message.
            length: number of indices of the whole stack, from whose end negative ones count.

        Raises:
            ValueError: an index outside `choices`, one given twice, or a count above their number.
        """
        span = f"{choices[0]}..{choices[-1]}"
        if self.layers:
            chosen = [layer + length if layer < 0 else layer for layer in self.layers]
            wrong = [layer for layer in chosen if layer not in choices]
            if wrong or len(set(chosen)) != len(chosen):
                counted = f", which are {chosen}," if chosen != list(self.layers) else ""
                raise ValueError(f"{stack}: {list(self.layers)}{counted} must be distinct indices in {span}")
            return tuple(sorted(chosen))
        ordered = list(choices) if anchor == "first" else list(reversed(choices))
        if self.stride is not None:
            return tuple(sorted(ordered[:: self.stride]))
        count = self.count or min(self.at_most or 0, len(ordered))
        if count > len(ordered):
            raise ValueError(f"{stack}: count = {count} but only {len(ordered)} layers ({span}) can be chosen")
        return tuple(sorted(ordered[i * len(ordered) // count] for i in range(count)))


def vision_choices(vision_feature_layer: int, num_layers: int) -> range:
    """Vision indices that can be tapped: 1..L', L' being the layer that feeds the projector.

    Index 0 is the patch embedding and index k the output of encoder block k, as in
    `hidden_states` of transformers. Deeper blocks than the base feature layer are never run for it.
    """
    deepest = vision_feature_layer if vision_feature_layer >= 0 else num_layers + 1 + vision_feature_layer
    return range(1, deepest + 1)


def decoder_choices(num_layers: int) -> range:
    """Decoder indices that can be injected into: 0..L-2.

    Features are added to the output of the layer. After the last layer nothing reads the visual
    positions any more, so it cannot be chosen.
    """
    return range(num_layers - 1)


@dataclass(frozen=True)
class Traits:
    """What a kind of injection taps, where it injects and how it gates: all that depends on `injection.kind`."""

    title: str
    """What such a model is, in Markdown."""
    gates: Literal["learned", "mean", "pairs", "none"] = "none"
    """Between tapped vision layers and decoder layers: `learned` by AGF, `mean` of all tapped layers into each decoder
    layer, `pairs` for the j-th into the j-th; `none` injects into no decoder layer."""
    at_projector: bool = False
    """Tapped layers join the base layer at the projector's input."""
    is_single: bool = False
    """One pair of layers alone."""

    @property
    def injects(self) -> bool:
        """Whether decoder layers get features."""
        return self.gates != "none"

    @property
    def taps(self) -> bool:
        """Whether vision layers are read besides the one that feeds the projector."""
        return self.injects or self.at_projector


KINDS = {
    "cli": Traits(f"LLaVA with {METHOD}: gated features of many vision layers at several decoder layers", "learned"),
    "none": Traits("Plain LLaVA"),
    "amp_only": Traits(f"LLaVA with the projections of {METHOD}, ungated", "mean"),
    "deepstack": Traits("LLaVA with vision layers added to decoder layers, ungated", "pairs"),
    "static": Traits("LLaVA with one vision layer added to one decoder layer, ungated", "pairs", is_single=True),
    "external": Traits("LLaVA with its vision layers fused at the projector's input", at_projector=True),
}
"""Of `injection.kind`."""

if TYPE_CHECKING:
    GateName = str
    KindName = str
else:
    # A type checker wants the names of a Literal written out.
    GateName = Literal[tuple(GATES)]
    KindName = Literal[tuple(KINDS)]


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

    gate: GateName = "tanh"
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

    kind: KindName = "cli"
    """`cli`: the method. `none`: plain LLaVA. `amp_only`: the mean of all projected layers, ungated.
    `deepstack`: the j-th vision layer ungated into the j-th decoder layer. `static`: one vision layer
    into one decoder layer, ungated. `external`: all layers fused at the projector's input."""
    vision_layers: Layers = Layers(at_most=8)
    """Tapped vision layers: 1..L, index k is the output of encoder block k."""
    decoder_layers: Layers = Layers(at_most=8)
    """Decoder layers whose output receives features: 0..L-2."""
    amp: AmpConfig = AmpConfig()
    agf: AgfConfig = AgfConfig()

    @property
    def traits(self) -> Traits:
        """What its kind does."""
        return KINDS[self.kind]

    @property
    def tapped(self) -> tuple[int, ...]:
        """Vision layers that are read besides the base layer, ascending, once they are resolved."""
        return self.vision_layers.layers if self.traits.taps else ()

    @property
    def injected(self) -> tuple[int, ...]:
        """Decoder layers that get features, ascending, once they are resolved."""
        return self.decoder_layers.layers if self.traits.injects else ()


def stored_injection(values: dict[str, Any]) -> dict[str, Any]:
    """An injection as a model or a run stored it, with the meaning it had then.

    A stored section holds every field there was, so without `agf.prompt_end` it is of a model whose gates read up
    to the first reply.
    """
    agf = values.get("agf")
    return values | {"agf": {"prompt_end": "first_reply"} | agf} if agf else values
