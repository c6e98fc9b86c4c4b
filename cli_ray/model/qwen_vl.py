"""Qwen2.5-VL and Qwen3-VL: a tower of any image size, a merger of 2 x 2 patches and positions in three dimensions.

Their adapters; `registry` names the two outer classes. Windows, positions and the features that Qwen3-VL adds to its
first decoder layers (its DeepStack) stay what they are in the plain models.

Shapes: N tapped vision layers, P patches and R tokens of all images, C width of the tower, D width of the language
model.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLModel,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
)
from transformers.vision_utils import get_vision_window_index

from cli_ray.model.backbone import CliModel
from cli_ray.model.configuration import InjectionSection
from cli_ray.model.generation import CliForConditionalGeneration


class QwenVlTower(CliModel):
    """What the inner models of both have in common."""

    projector_path = "visual.merger"
    image_arguments = ("pixel_values", "image_grid_thw")
    packs_rows = False

    @property
    def patches_per_token(self) -> int:
        """See `Adapter`."""
        return int(self.config.vision_config.spatial_merge_size**2)

    def group(self, v_NPC: Tensor) -> Tensor:
        """The patches of a token follow each other in the tower."""
        return v_NPC.reshape(len(v_NPC), -1, self.patches_per_token * v_NPC.shape[-1])

    def projection(self) -> Callable[[Tensor], Tensor]:
        """The merger, which takes patches in one row."""
        return lambda v_NPC: self.projector(v_NPC.flatten(0, 1)).unflatten(0, (len(v_NPC), -1))

    def dummy_images(self) -> dict[str, Any]:
        """One token."""
        vision = self.config.vision_config
        side = vision.spatial_merge_size
        width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return {
            "pixel_values": torch.zeros(side**2, width, device=self.device, dtype=self.dtype),
            "image_grid_thw": torch.tensor([[1, side, side]], device=self.device),
        }


class CliQwen2_5_VLConfig(InjectionSection, Qwen2_5_VLConfig):
    """Qwen2.5-VL with Cross-Layer Injection."""

    model_type = "cli_qwen2_5_vl"

    cli: dict[str, Any] | None = None


class CliQwen2_5_VLModel(QwenVlTower, Qwen2_5_VLModel):
    """Tower, AMP, AGF and the language model without its head."""

    config: CliQwen2_5_VLConfig
    decoder_layers = ("Qwen2_5_VLDecoderLayer",)

    def arrange(self, v_hat_NRD: Tensor, images: dict[str, Any]) -> Tensor:
        """Tokens of windows in the order of the image."""
        tower = self.visual
        window_R, _ = get_vision_window_index(
            images["image_grid_thw"], tower.spatial_merge_size, tower.window_size, tower.patch_size
        )
        return v_hat_NRD[:, torch.argsort(window_R)]


class CliQwen2_5_VLForConditionalGeneration(CliForConditionalGeneration, Qwen2_5_VLForConditionalGeneration):
    """Qwen2.5-VL with Cross-Layer Injection; drop-in for `Qwen2_5_VLForConditionalGeneration`."""

    config: CliQwen2_5_VLConfig
    config_class = CliQwen2_5_VLConfig
    inner_class = CliQwen2_5_VLModel
    plain_class = Qwen2_5_VLForConditionalGeneration


class CliQwen3VLConfig(InjectionSection, Qwen3VLConfig):
    """Qwen3-VL with Cross-Layer Injection."""

    model_type = "cli_qwen3_vl"

    cli: dict[str, Any] | None = None


class CliQwen3VLModel(QwenVlTower, Qwen3VLModel):
    """Tower, AMP, AGF and the language model without its head."""

    config: CliQwen3VLConfig
    decoder_layers = ("Qwen3VLTextDecoderLayer",)


class CliQwen3VLForConditionalGeneration(CliForConditionalGeneration, Qwen3VLForConditionalGeneration):
    """Qwen3-VL with Cross-Layer Injection; drop-in for `Qwen3VLForConditionalGeneration`."""

    config: CliQwen3VLConfig
    config_class = CliQwen3VLConfig
    inner_class = CliQwen3VLModel
    plain_class = Qwen3VLForConditionalGeneration
