"""InternVL: InternViT, a pixel shuffle with a two-layer projector, and Qwen; an image cut into tiles.

Its adapter; `registry` names the outer class. What has gates of its own is a tile: the plain model is not told which of
them are of one picture.

Shapes: N tapped vision layers, P patches of all tiles, C width of the tower.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLModel

from cli_ray.model.backbone import CliModel
from cli_ray.model.configuration import InjectionSection
from cli_ray.model.generation import CliForConditionalGeneration
from cli_ray.model.injection import KNOWN


class CliInternVLConfig(InjectionSection, InternVLConfig):
    """InternVL with Cross-Layer Injection."""

    model_type = "cli_internvl"

    cli: dict[str, Any] | None = None


class CliInternVLModel(CliModel, InternVLModel):
    """Tower, AMP, AGF and the language model without its head."""

    config: CliInternVLConfig
    decoder_layers = (*KNOWN, "Qwen3DecoderLayer")
    stacks_images = True

    @property
    def patches_per_token(self) -> int:
        """See `Adapter`."""
        return int(round(1 / self.config.downsample_ratio) ** 2)

    def patches(self, hidden: Tensor) -> Tensor:
        """Normed as the base layer is, which is not where it is another than the last."""
        if self.config.vision_feature_layer == -1:
            hidden = self.vision_tower.layernorm(hidden)
        return hidden[:, 1:] if self.config.vision_feature_select_strategy == "default" else hidden

    def group(self, v_NPC: Tensor) -> Tensor:
        """The pixel shuffle of each tile."""
        vision = self.config.vision_config
        rows, columns = (size // patch for size, patch in zip(vision.image_size, vision.patch_size, strict=True))
        shuffled: Tensor = self.pixel_shuffle(
            v_NPC.reshape(-1, rows, columns, v_NPC.shape[-1]), scale_factor=self.config.downsample_ratio
        )
        return shuffled.reshape(len(v_NPC), -1, shuffled.shape[-1])

    def projection(self) -> Callable[[Tensor], Tensor]:
        """See `Adapter`."""
        return lambda v_NPC: self.projector(self.group(v_NPC))

    def dummy_images(self) -> dict[str, Any]:
        """One black tile."""
        height, width = self.config.vision_config.image_size
        return {"pixel_values": torch.zeros(1, 3, height, width, device=self.device, dtype=self.dtype)}


class CliInternVLForConditionalGeneration(CliForConditionalGeneration, InternVLForConditionalGeneration):
    """InternVL with Cross-Layer Injection; drop-in for `InternVLForConditionalGeneration`."""

    config: CliInternVLConfig
    config_class = CliInternVLConfig
    inner_class = CliInternVLModel
    plain_class = InternVLForConditionalGeneration
