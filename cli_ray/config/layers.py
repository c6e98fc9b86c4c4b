"""Which layers of a stack take part: an explicit list, a count or a stride."""

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from cli_ray.config.base import Section


class Layers(Section):
    """One of `layers`, `count`, `at_most` and `stride`; in TOML a bare list stands for `{layers = [...]}`."""

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
        given = [bool(self.layers), *(one is not None for one in (self.count, self.at_most, self.stride))]
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
