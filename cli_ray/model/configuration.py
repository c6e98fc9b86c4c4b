"""Configs of the CLI models: those of the plain ones plus one section, `cli`.

Which layers an injection has, once it meets the stacks of a model, is decided here.
"""

from typing import Any, Self

from transformers import PreTrainedConfig

from cli_ray.config import InjectionConfig, Layers, stored_injection
from cli_ray.config.injection import decoder_choices, vision_choices


def resolve(injection: InjectionConfig, config: Any) -> InjectionConfig:
    """`injection` with explicit layer indices, checked against the stacks of a LLaVA config.

    Counts and strides keep the vision layer that feeds the projector and the first decoder layer.

    Raises:
        ValueError: an index outside its stack, or unequal numbers of layers where they go in pairs.
    """
    traits = injection.traits
    if not traits.taps:
        return injection
    base = config.vision_feature_layer
    if not isinstance(base, int):
        raise ValueError(f"vision_feature_layer = {base}: injection needs one base layer, not several joined ones")
    blocks = config.vision_config.num_hidden_layers
    vision = injection.vision_layers.resolve(
        vision_choices(base, blocks), "last", "injection.vision_layers", length=blocks + 1
    )
    layers = {"vision_layers": Layers(layers=vision)}
    if traits.injects:
        depth = config.text_config.num_hidden_layers
        decoder = injection.decoder_layers.resolve(
            decoder_choices(depth), "first", "injection.decoder_layers", length=depth
        )
        layers["decoder_layers"] = Layers(layers=decoder)
        if traits.is_single and (len(vision), len(decoder)) != (1, 1):
            raise ValueError(
                f"injection.kind = {injection.kind!r} joins one vision layer to one decoder layer, but vision_layers "
                f"names {len(vision)} and decoder_layers {len(decoder)}: give one index each"
            )
        if traits.gates == "pairs" and len(vision) != len(decoder):
            raise ValueError(
                f"injection.kind = {injection.kind!r} joins layers in pairs, but vision_layers names {len(vision)} "
                f"and decoder_layers {len(decoder)}: give both the same number"
            )
    return injection.model_copy(update=layers)


class InjectionSection:
    """Mixin of the configs, before the plain one: the section `cli`, whose layers are explicit once it or the model is
    built."""

    cli: dict[str, Any] | None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[misc]
        if self.cli is not None:
            self.store(self.injection)

    @property
    def injection(self) -> InjectionConfig:
        """The validated section with explicit layers; the default one where the config has none."""
        return resolve(InjectionConfig.model_validate(self.cli or {}), self)

    def store(self, injection: InjectionConfig) -> None:
        """Write `injection` into the section, layers resolved."""
        self.cli = resolve(injection, self).model_dump(mode="json")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, from the content of a config.json."""
        if section := config_dict.get("cli"):
            config_dict = config_dict | {"cli": stored_injection(section)}
        return super().from_dict(config_dict, **kwargs)  # type: ignore[misc]

    @classmethod
    def from_plain(cls, config: PreTrainedConfig, injection: InjectionConfig) -> Self:
        """The config of a CLI model whose base has the plain LLaVA `config`."""
        values = {key: value for key, value in config.to_dict().items() if key not in ("model_type", "architectures")}
        return cls(**values | {"cli": injection.model_dump(mode="json")})


def layer_map(injection: InjectionConfig) -> str:
    """The resolved map in words, for the log: which vision layers go into which decoder layers."""
    vision, decoder = list(injection.tapped), list(injection.injected)
    # Index k of `hidden_states` is the output of the k-th block, counted from 1.
    if injection.traits.at_projector:
        return f"injection: {injection.kind}, outputs of vision blocks {vision} (from 1) into the projector's input"
    match injection.traits.gates:
        case "none":
            return "injection: none"
        case "pairs":
            pairs = ", ".join(f"{v} -> {d}" for v, d in zip(vision, decoder, strict=True))
            return (
                f"injection: {injection.kind}, vision block (the first is 1) -> decoder layer (the first is 0): {pairs}"
            )
    return (
        f"injection: {injection.kind}, outputs of vision blocks {vision} (from 1) -> outputs of decoder layers "
        f"{decoder} (from 0), every pair"
    )
