"""Configs of the CLI models: those of the plain ones plus one section, `cli`, and the layers of an injection in words.

Which layers an injection has, once it meets the stacks of a model, `costs.sizes` decides.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

from transformers import PreTrainedConfig

from cli_ray.config import InjectionConfig, stored_injection
from cli_ray.costs.sizes import resolve


@dataclass(frozen=True)
class Stacks:
    """What `resolve` reads of a config whose projector reads the tower's last block."""

    blocks: int
    """Of the tower."""
    text_config: Any

    @property
    def vision_feature_layer(self) -> int:
        """As in a LLaVA's config."""
        return -1

    @property
    def vision_config(self) -> Any:
        """As in a LLaVA's config."""
        return SimpleNamespace(num_hidden_layers=self.blocks)


class InjectionSection:
    """Mixin of the configs, before the plain one: the section `cli`, whose layers are explicit once it or the model is
    built."""

    cli: dict[str, Any] | None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[misc]
        if self.cli is not None:
            self.store(self.injection)

    @property
    def stacks(self) -> Any:
        """The sizes of the stacks between which layers are injected, as in a LLaVA's config."""
        if hasattr(self, "vision_feature_layer"):
            return self
        vision: Any = self.vision_config  # type: ignore[attr-defined]
        blocks = vision.depth if hasattr(vision, "depth") else vision.num_hidden_layers
        return Stacks(blocks, self.text_config)  # type: ignore[attr-defined]

    @property
    def injection(self) -> InjectionConfig:
        """The validated section with explicit layers; the default one where the config has none."""
        return resolve(InjectionConfig.model_validate(self.cli or {}), self.stacks)

    def store(self, injection: InjectionConfig) -> None:
        """Write `injection` into the section, layers resolved."""
        self.cli = resolve(injection, self.stacks).model_dump(mode="json")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, from the content of a config.json."""
        if section := config_dict.get("cli"):
            config_dict = config_dict | {"cli": stored_injection(section)}
        return super().from_dict(config_dict, **kwargs)  # type: ignore[misc]

    @classmethod
    def from_plain(cls, config: PreTrainedConfig, injection: InjectionConfig) -> Self:
        """The config of a CLI model whose base has the plain `config`."""
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
