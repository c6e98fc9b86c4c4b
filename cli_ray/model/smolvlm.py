"""SmolVLM and Idefics3: SigLIP, a pixel shuffle with one linear layer, and Llama; an image cut into tiles.

Their adapter; `registry` names the outer classes. What has gates of its own is a tile: the plain models are not told
which of them are of one picture.

Shapes: N tapped vision layers, P patches of all tiles, C width of the tower.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Model,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMModel,
)

from cli_ray.model.backbone import CliModel
from cli_ray.model.configuration import InjectionSection
from cli_ray.model.generation import CliForConditionalGeneration


class ShuffledTiles(CliModel):
    """What the inner models of both have in common."""

    projector_path, decoder_path = "connector", "text_model"
    image_arguments = ("pixel_values", "pixel_attention_mask")

    @property
    def patches_per_token(self) -> int:
        """See `Adapter`."""
        return int(self.config.scale_factor**2)

    def patches(self, hidden: Tensor) -> Tensor:
        """See `Adapter`."""
        normed: Tensor = self.vision_model.post_layernorm(hidden)
        return normed

    def group(self, v_NPC: Tensor) -> Tensor:
        """The pixel shuffle of each tile."""
        tiles = v_NPC.unflatten(1, (-1, self.image_seq_len * self.patches_per_token)).flatten(0, 1)
        shuffled: Tensor = self.connector.pixel_shuffle(tiles, self.config.scale_factor)
        return shuffled.reshape(len(v_NPC), -1, shuffled.shape[-1])

    def projection(self) -> Callable[[Tensor], Tensor]:
        """See `Adapter`."""
        return lambda v_NPC: self.connector.modality_projection(self.group(v_NPC))

    def split(self, base: Any) -> Sequence[Tensor]:
        """The plain model has those of a sample in one tensor."""
        tiles: Sequence[Tensor] = torch.cat(tuple(base)).split(self.image_seq_len)
        return tiles

    def dummy_images(self) -> dict[str, Any]:
        """One tile, which is not of zeros: those are padding."""
        side = self.config.vision_config.image_size
        return {"pixel_values": torch.ones(1, 1, 3, side, side, device=self.device, dtype=self.dtype)}


class CliSmolVLMConfig(InjectionSection, SmolVLMConfig):
    """SmolVLM with Cross-Layer Injection."""

    model_type = "cli_smolvlm"

    cli: dict[str, Any] | None = None


class CliSmolVLMModel(ShuffledTiles, SmolVLMModel):
    """Tower, AMP, AGF and the language model without its head."""

    config: CliSmolVLMConfig


class CliSmolVLMForConditionalGeneration(CliForConditionalGeneration, SmolVLMForConditionalGeneration):
    """SmolVLM with Cross-Layer Injection; drop-in for `SmolVLMForConditionalGeneration`."""

    config: CliSmolVLMConfig
    config_class = CliSmolVLMConfig
    inner_class = CliSmolVLMModel
    plain_class = SmolVLMForConditionalGeneration


class CliIdefics3Config(InjectionSection, Idefics3Config):
    """Idefics3 with Cross-Layer Injection."""

    model_type = "cli_idefics3"

    cli: dict[str, Any] | None = None


class CliIdefics3Model(ShuffledTiles, Idefics3Model):
    """Tower, AMP, AGF and the language model without its head."""

    config: CliIdefics3Config


class CliIdefics3ForConditionalGeneration(CliForConditionalGeneration, Idefics3ForConditionalGeneration):
    """Idefics3 with Cross-Layer Injection; drop-in for `Idefics3ForConditionalGeneration`."""

    config: CliIdefics3Config
    config_class = CliIdefics3Config
    inner_class = CliIdefics3Model
    plain_class = Idefics3ForConditionalGeneration
